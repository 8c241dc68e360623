#!/usr/bin/env python3
"""install-bootstrap.py MENURA [OPTION...] - Debian 12 installed to an empty disk, without the installer: the text guest partitions the disk, fills it with
debootstrap from tests/guests/make-mirror on loopback, puts a kernel and GRUB on it and powers off; then the disk is started by itself, by SeaBIOS, until
its login, looked at and powered off. For where the installer's own packages (udebs) cannot be had; install-debian.py is the other way. Ten minutes."""
import os, subprocess, sys, tempfile, time
import textguest
from textguest import Failed, Guest

MIRROR = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../guests/make-mirror')
STEPS = (
    ('apt on loopback', 'echo "deb [trusted=yes] http://10.0.2.2:{port}/debian bookworm main" >/etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*; apt-get -q update'),
    ('tools', 'DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install debootstrap fdisk e2fsprogs'),
    ('disk', 'echo ",,L,*" | sfdisk -q /dev/{disk} && udevadm settle && mkfs.ext4 -q -L installed /dev/{disk}1 && mkdir -p /target && mount /dev/{disk}1 /target'),
    ('debootstrap', 'debootstrap --variant=minbase --no-check-gpg --include=systemd-sysv,udev,linux-image-cloud-amd64,grub-pc,iproute2,login '
                    'bookworm /target http://10.0.2.2:{port}/debian'),
    ('settings', 'echo installed >/target/etc/hostname; echo "LABEL=installed / ext4 defaults 0 1" >/target/etc/fstab; '
                 'echo "root:root" | chroot /target chpasswd; '
                 'printf \'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="console=tty0 console=ttyS0"\nGRUB_TERMINAL="console serial"\n\' >>/target/etc/default/grub'),
    ('grub', 'for d in dev proc sys; do mount --bind /$d /target/$d; done; chroot /target grub-install /dev/{disk} && chroot /target update-initramfs -u && chroot /target update-grub'),
    ('end', 'umount -R /target && e2fsck -fn /dev/{disk}1'),
)


def install(program, options, folder, disk, port):
    args = ['-smp', '2', '-m', '1024', *options, *textguest.system_disk(folder, 'virtio-blk'), *textguest.direct(folder), '-nic', 'user,model=virtio-net-pci',
            '-drive', f'if=none,id=new,format=raw,file={disk},discard=unmap', '-device', 'virtio-blk-pci,drive=new']
    with Guest(program, args, 900) as g:
        g.login()
        g.run('for i in $(seq 120); do ip -4 addr | grep -q "inet 10" && break; sleep 1; done')
        name = next(line.split()[0] for line in g.run('lsblk -bdno NAME,SIZE').splitlines() if int(line.split()[1]) == os.path.getsize(disk))
        for what, command in STEPS:
            begin = time.monotonic()
            g.run(command.format(port=port, disk=name), 3600)
            print(f'{what}: {time.monotonic() - begin:.0f} s', flush=True)
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')


def look(program, options, disk):
    with Guest(program, ['-m', '512', *options, '-drive', f'if=virtio,format=raw,file={disk}', '-nic', 'user'], 900) as g:
        g.wait(r'installed login: ')
        g.type('root')
        g.wait('Password: ')
        g.type('root')
        g.wait('~# ')
        g.type("stty -echo; PS1= ; PS2= ; dmesg -n 1; echo SHELL-$((1 + 1))")
        g.wait('SHELL-2')
        print(g.run('cat /etc/debian_version; uname -r; findmnt -no SOURCE,FSTYPE /; systemctl is-system-running --wait; dpkg -l | grep -c ^ii', fails=True)[1])
        g.run('findmnt -no LABEL / | grep -q installed')
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')


def main():
    program, options = sys.argv[1], sys.argv[2:] or ['-accel', 'tcg']
    folder = textguest.images()
    with tempfile.TemporaryDirectory() as work, subprocess.Popen([MIRROR, f'{folder}/mirror'], stdout=subprocess.PIPE, text=True) as mirror:
        try:
            port = int(mirror.stdout.readline().split()[-1])
            with open(f'{work}/disk', 'wb') as f:
                f.truncate(3 << 30)
            install(program, options, folder, f'{work}/disk', port)
            look(program, options, f'{work}/disk')
        except Failed as e:
            sys.exit(f'FAIL: {e}')
        finally:
            mirror.terminate()
    print('ok: installed, and started from its own disk')


main()
