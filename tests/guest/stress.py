#!/usr/bin/env python3
"""stress.py MENURA CPUS [SECONDS [TCG-OPTIONS]] - stress-ng in Debian's text guest checks what it computes: cpu, vm, mmap, fork, atomic,
signal and cache at once, ten minutes by default. It must find nothing, nor may the kernel complain."""
import sys
import textguest
from textguest import Failed, Guest

program, cpus = sys.argv[1:3]
seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 600
tcg = ',' + sys.argv[4] if len(sys.argv) > 4 and sys.argv[4] else ''
folder = textguest.images()
try:
    with Guest(program, ['-accel', 'tcg' + tcg, '-smp', cpus, '-m', '768', '-nic', 'none', *textguest.system_disk(folder, 'virtio-blk'), *textguest.direct(folder)], 600) as g:
        g.login()
        said = g.run(f'stress-ng --verify --metrics-brief --timeout {seconds} --cpu {cpus} --vm {cpus} --vm-bytes 64M --mmap {cpus} --mmap-bytes 32M '
                     f'--fork {cpus} --atomic {cpus} --signal {cpus} --cache {cpus}', seconds * 2 + 300)
        print(said)
        checks = g.run('guest-check dmesg interrupts clocksource services', fails=True)[1]
        print(checks)
        if 'CHECK end ok' not in checks or 'fail' in said.replace('failed: 0', ''):
            raise Failed('see above')
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')
except Failed as e:
    sys.exit(f'FAIL: {e}')
print(f'ok: {seconds} s with {cpus} vCPU')
