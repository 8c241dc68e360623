#!/usr/bin/env python3
"""selftests.py MENURA [CPUS [TCG-OPTIONS]] - the kernel's own x86 self-tests (tests/guests/make-selftests), 64- and 32-bit, in Debian's text
guest under Menura and, where there is one, under QEMU 10: no more fail here than there."""
import os, re, shutil, subprocess, sys
import textguest
from textguest import Failed, Guest

# Fail under QEMU 10.0 as well: no AMX here, and one that fails of itself.
KNOWN = {'amx_64', 'sigreturn_32'}
program = sys.argv[1]
cpus = sys.argv[2] if len(sys.argv) > 2 else '1'
tcg = ',' + sys.argv[3] if len(sys.argv) > 3 and sys.argv[3] else ''
peer = shutil.which('qemu-system-x86_64')
folder = textguest.images()
tests = f'{folder}/selftests.tar'
if not os.path.exists(tests) and subprocess.call([os.path.join(textguest.here, '../guests/make-selftests'), folder]):
    textguest.skip('the self-tests cannot be made here (see above)')


def failing(program, accel):
    """Names of those that fail, of all that ran."""
    disks = [f'if=virtio,format=raw,snapshot=on,file={folder}/text-bios.img', f'if=virtio,format=raw,readonly=on,file={tests}']
    with Guest(program, ['-accel', accel, '-cpu', 'max', '-smp', cpus, '-m', '768', '-nic', 'none', '-drive', disks[0], '-drive', disks[1],
                         *textguest.direct(folder)], 600) as g:
        g.login()
        said = g.run('cd /tmp && tar xf /dev/vdb && selftests/run', 3600)
    ran = dict(re.findall(r'^RESULT (\S+) (\d+)$', said, re.M))
    print(f'{program}: {len(ran)} ran\n' + '\n'.join(line for line in said.splitlines() if not line.endswith(' 0')))
    if len(ran) < 40:
        raise Failed('too few ran')
    return {name for name, status in ran.items() if status != '0'}


try:
    allowed = failing(peer, 'tcg,tb-size=256') if peer and not tcg else KNOWN
    if worse := failing(program, 'tcg' + tcg) - allowed:
        raise Failed(f'failed here, not under QEMU: {", ".join(sorted(worse))}')
except Failed as e:
    sys.exit(f'FAIL: {e}')
print('ok')
