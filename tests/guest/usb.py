#!/usr/bin/env python3
"""usb.py MENURA CPUS MACHINE [ARGS..] - USB in a running Linux: keyboard, tablet, hub, disks read and written, coming and going while
they are written. The guest is tests/guests' general kernel with the busybox initrd; exit 77 when it cannot be had here."""
import hashlib
import os
import struct
import time

from hotplug import PATIENCE, Guest, Qmp, check, main

MB = 1 << 20
LIST = 'for d in /sys/bus/usb/devices/*-*; do [ -e $d/product ] && echo $(basename $d) $(cat $d/speed) $(cat $d/product); done'


def command(menura, cpus, machine, rest, kernel, initrd, work):
    return [menura, '-accel', 'tcg', '-M', machine, '-smp', cpus, '-m', '512', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot',
            '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet', '-qmp', f'unix:{work}/qmp,server=on,wait=off',
            '-device', 'qemu-xhci,id=usb', '-device', 'usb-tablet,id=tablet,bus=usb.0,port=1', '-device', 'usb-hub,id=hub,bus=usb.0,port=2',
            '-device', 'usb-kbd,id=kbd,bus=usb.0,port=2.1', '-drive', f'if=none,id=d0,format=raw,file={work}/d0.img',
            '-device', 'usb-storage,id=st0,bus=usb.0,port=3,drive=d0,serial=ABC123'] + rest


def hmp(q, line):
    return q('human-monitor-command', **{'command-line': line})


def events(g, dev, act, want):
    """What an input device says while `act` runs: (type, code, value), until `want` is among it."""
    g.run(f'(timeout 20 cat {dev} >/tmp/ev) & sleep 1')
    act()
    limit = time.time() + PATIENCE
    while True:
        raw = bytes.fromhex(''.join(g.run('hexdump -v -e \'1/1 "%02x"\' /tmp/ev').split()))
        got = [struct.unpack_from('<HHi', raw, i + 16) for i in range(0, len(raw) - 23, 24)]
        if want in got:
            break
        check(time.time() < limit, dev, 'never says', want, 'but', got)
    g.run('kill %1; wait')


def event_of(g, name):
    out = g.run(f'for e in /sys/class/input/event*; do grep -q "{name}" $e/device/name && echo /dev/input/$(basename $e); done').split()
    check(out, 'no input device', name)
    return out[0]


def people(g, q):
    kbd, tablet = event_of(g, 'QEMU USB Keyboard'), event_of(g, 'QEMU USB Tablet')
    events(g, kbd, lambda: q('send-key', keys=[{'type': 'qcode', 'data': 'a'}]), (1, 30, 1))
    abs_event = lambda axis, v: {'type': 'abs', 'data': {'axis': axis, 'value': v}}
    events(g, tablet, lambda: q('input-send-event', events=[abs_event('x', 12345), abs_event('y', 23456)]), (3, 1, 23456))
    mice = q('query-mice')
    check(any(m['absolute'] and m['current'] for m in mice), 'the tablet is not the pointer:', mice)


def disk(g, dev, data):
    check(hashlib.sha256(data).hexdigest() in g.run(f'sha256sum {dev}'), dev, 'reads wrong')
    g.run(f'dd if=/dev/urandom of=/tmp/r bs=64k count=32 2>/dev/null; dd if=/tmp/r of={dev} bs=32k seek=16 conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches')
    a, b = (g.run(x).split()[0] for x in ('sha256sum /tmp/r', f'dd if={dev} bs=32k skip=16 count=64 2>/dev/null | sha256sum'))
    check(a == b, dev, 'does not give back what was written')
    return a


def comes_and_goes(g, q, work, data):
    for n in range(3):
        q('blockdev-add', **{'driver': 'file', 'node-name': 'hot', 'filename': f'{work}/d1.img'})
        q('device_add', driver='usb-storage', id='st1', bus='usb.0', port='2.3', drive='hot', removable=True)
        g.until('ls /dev; dmesg | tail -3', 'sdb')
        if not n:
            check(hashlib.sha256(data).hexdigest() in g.run('sha256sum /dev/sdb'), 'the disk behind the hub reads wrong')
            check('Port 2.3, Speed 480 Mb/s, Product QEMU USB MSD, ID: st1' in hmp(q, 'info usb'), hmp(q, 'info usb'))
        g.run('(dd if=/dev/zero of=/dev/sdb bs=64k count=400 seek=32 conv=notrunc oflag=direct >/dev/null 2>&1) & sleep 0.3')
        q('device_del', id='st1')
        q.deleted('st1')
        q('blockdev-del', node_name='hot')
        g.until('ls /sys/block', 'sda')
        g.until('[ -e /sys/block/sdb ] || echo sdb is gone', 'sdb is gone')
    q('device_del', id='hub')
    q.deleted('hub')
    g.until(f'{LIST} | grep -c -i -E "hub|keyboard"', '0')
    q('device_add', driver='usb-mouse', id='mouse', bus='usb.0', port='2')
    g.until(LIST, 'QEMU USB Mouse')


def play(menura, cpus, machine, rest, kernel, initrd, work):
    data = [os.urandom(32 * MB), os.urandom(32 * MB)]
    for n, d in enumerate(data):
        with open(f'{work}/d{n}.img', 'wb') as f:
            f.write(d)
    g = Guest(command(menura, cpus, machine, rest, kernel, initrd, work))
    g.wait(rb'GUEST-READY')
    q = Qmp(f'{work}/qmp')
    g.run('for m in xhci_pci usbhid hid_generic evdev usb_storage sd_mod; do modprobe $m; done')
    g.until('ls /dev', 'sda')
    g.until(LIST, 'QEMU USB Keyboard')
    got = g.run(LIST)
    for want in ('1-1 480 QEMU USB Tablet', '1-2 480 QEMU USB Hub', '1-2.1 480 QEMU USB Keyboard', '2-3 5000 QEMU USB HARDDRIVE'):
        check(want in got, 'no', want, 'in', got)
    people(g, q)
    sha = disk(g, '/dev/sda', data[0])
    with open(f'{work}/d0.img', 'rb') as f:
        f.seek(16 * 32768)
        check(hashlib.sha256(f.read(2 * MB)).hexdigest() == sha, 'what the guest wrote is not in the image')
    comes_and_goes(g, q, work, data[1])
    bad = g.run('dmesg | grep -E "Oops|BUG|WARNING|xhci.*(ERROR|WARN|not responding|died)|Setup ERROR"')
    check(not bad.strip(), 'the kernel complains:', bad)
    g.p.stdin.write(b'poweroff -f\n')
    g.p.stdin.flush()
    limit = time.time() + PATIENCE
    while g.p.poll() is None:
        check(time.time() < limit, 'no power-off')
        time.sleep(0.1)
    check(g.p.returncode == 0, 'status', g.p.returncode)
    print(f'ok: {machine}, {cpus} CPUs: keyboard, tablet, hub, disks')


main(play, 'vmlinuz', 'usb')
