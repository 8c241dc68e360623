#!/usr/bin/env python3
"""cloud.py MENURA MENURA_IMG - a cloud image as people run it: Debian with cloud-init as a compressed qcow2, an overlay on it for this
machine, its settings on a CD labelled cidata. The guest takes its name, writes a file, runs a command; its second boot remembers; the
base image stays as it was. Exit status 77: the guest cannot be made here."""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.environ.get('MENURA_GUESTS') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'menura-guests')
PATIENCE = '400'
USER_DATA = """#cloud-config
hostname: lyrebird
users:
  - name: superb
    plain_text_passwd: albert
    lock_passwd: false
write_files:
  - path: /etc/song
    content: "whipbird, kookaburra\\n"
runcmd:
  - [ sh, -c, 'echo CLOUD-$((40 + 2)) $(hostname) $(id -un superb) $(cat /etc/song) > /dev/ttyS0' ]
"""


def skip(why):
    print('SKIP:', why)
    sys.exit(77)


def run(*args):
    p = subprocess.run(args, capture_output=True, text=True)
    if p.returncode:
        print('FAIL:', *args, p.stdout, p.stderr)
        sys.exit(1)
    return p.stdout


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else hashlib.sha256(f.read()).hexdigest()


def boot(menura, overlay, seed, log, *steps):
    words = []
    for kind, text in steps:
        words += ['--' + kind, text]
    p = subprocess.run([f'{HERE}/../guests/expect-serial', '--log', log, '--timeout', PATIENCE, '--never', 'Kernel panic', *words, '--exit', '--', menura,
                        '-accel', 'tcg', '-cpu', 'max', '-m', '512', '-display', 'none', '-nic', 'none', '-drive', f'file={overlay},if=virtio', '-cdrom', seed])
    if p.returncode:
        print('FAIL: the guest did not do', steps)
        sys.exit(1)


def main():
    menura, img = (os.path.abspath(p) for p in sys.argv[1:3])
    if not shutil.which('xorriso'):
        skip('xorriso is missing')
    if not os.path.exists(f'{GUESTS}/cloud.img') and subprocess.run([f'{HERE}/../guests/make-cloud', GUESTS]).returncode:
        skip('the guest cannot be made here (see above)')
    with tempfile.TemporaryDirectory(prefix='menura-cloud.', dir='/var/tmp') as work:
        base, overlay, seed = f'{work}/debian.qcow2', f'{work}/vm.qcow2', f'{work}/seed.iso'
        os.mkdir(f'{work}/seed')
        for name, text in (('user-data', USER_DATA), ('meta-data', 'instance-id: menura-1\n')):
            with open(f'{work}/seed/{name}', 'w') as f:
                f.write(text)
        run('xorriso', '-as', 'mkisofs', '-quiet', '-V', 'cidata', '-J', '-r', '-o', seed, f'{work}/seed')
        run(img, 'convert', '-c', '-O', 'qcow2', f'{GUESTS}/cloud.img', base)
        before = digest(base)
        run(img, 'create', '-f', 'qcow2', '-b', base, '-F', 'qcow2', overlay, '6G')
        boot(menura, overlay, seed, f'{work}/1.log', ('wait', 'CLOUD-42 lyrebird superb whipbird, kookaburra'), ('wait', 'GUEST-READY'),
             ('send', 'cloud-init status --wait'), ('wait', 'status: done'), ('send', 'lsblk -bno SIZE /dev/vda | head -1; echo kept >/root/mine; sync'),
             ('wait', str(6 << 30)), ('send', 'poweroff'))
        boot(menura, overlay, seed, f'{work}/2.log', ('wait', 'GUEST-READY'), ('send', 'echo $(cat /root/mine /etc/hostname /etc/song)'),
             ('wait', 'kept lyrebird whipbird'), ('send', 'poweroff'))
        with open(f'{work}/2.log', errors='replace') as f:
            if 'CLOUD-42' in f.read():
                print('FAIL: cloud-init ran its commands twice')
                sys.exit(1)
        if digest(base) != before:
            print('FAIL: the base image was written to')
            sys.exit(1)
        run(img, 'check', overlay)
    print('ok')


main()
