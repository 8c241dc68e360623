#!/usr/bin/env python3
"""hotplug.py MENURA CPUS MACHINE [ARGS..] - devices come to and go from a running Linux: an entropy source, a network card, a disk
that is read meanwhile. MACHINE: pc, q35, or q35-native (the ports' own hot-plug instead of ACPI's).
The guest is tests/guests' cloud kernel with the busybox initrd; exit 77 when it cannot be had here."""
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

LIST = 'for d in /sys/bus/pci/devices/*; do echo $d $(cat $d/vendor $d/device | sed s/0x//); done'
PATIENCE = int(os.environ.get('PATIENCE', 240))


machine_process = None


def end(status):
    if machine_process:
        machine_process.kill()
    sys.stdout.flush()
    os._exit(status)


def fail(*what):
    print('FAIL:', *what)
    end(1)


signal.signal(signal.SIGTERM, lambda *_: end(1))


class Qmp:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.s.settimeout(PATIENCE)
        self.f = self.s.makefile('rw')
        self.events = []
        self.f.readline()
        self('qmp_capabilities')

    def ask(self, command, **arguments):
        m = {'execute': command, 'arguments': {k.replace('_', '-'): v for k, v in arguments.items()}}
        self.f.write(json.dumps(m) + '\n')
        self.f.flush()
        while True:
            r = json.loads(self.f.readline())
            if 'event' not in r:
                return r
            self.events.append(r)

    def __call__(self, command, **arguments):
        r = self.ask(command, **arguments)
        if 'return' not in r:
            fail(command, arguments, 'answers', r)
        return r['return']

    def deleted(self, device):
        while True:
            e = self.events.pop(0) if self.events else json.loads(self.f.readline())
            if e['event'] == 'DEVICE_DELETED' and e['data'].get('device') == device:
                return


class Guest:
    """Its serial port is the emulator's stdio; lines typed there come back with a marker."""

    def __init__(self, cmd):
        global machine_process
        self.p = machine_process = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.log = b''
        self.more = threading.Condition()
        self.n = 0
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while part := os.read(self.p.stdout.fileno(), 65536):
            with self.more:
                self.log += part
                self.more.notify_all()
        with self.more:
            self.p.wait()
            self.more.notify_all()

    def wait(self, pattern, at=0):
        limit = time.time() + PATIENCE
        with self.more:
            while True:
                m = re.compile(pattern, re.S).search(self.log, at)
                if m:
                    return m
                if self.p.poll() is not None or time.time() > limit:
                    fail('no', pattern, 'from the guest; the end of its console:', self.log[-1500:].decode(errors='replace'))
                self.more.wait(1)

    def run(self, line):
        """Types a line; what it printed."""
        self.n += 1
        if os.environ.get('VERBOSE'):
            print('>', line, file=sys.stderr)
        at = len(self.log)
        self.p.stdin.write(f'echo BEG""IN{self.n}; {line}; echo EN""D{self.n}\n'.encode())
        self.p.stdin.flush()
        return self.wait(rb'BEGIN%d\r?\n(.*?)END%d' % (self.n, self.n), at).group(1).decode(errors='replace').replace('\r', '')

    def until(self, line, want):
        limit = time.time() + PATIENCE
        while want not in (got := self.run(line)):
            if time.time() > limit:
                fail(line, 'never says', want, 'but', got, self.run('dmesg | tail -20'))
            time.sleep(0.3)
        return got


def check(ok, *what):
    if not ok:
        fail(*what)


def main(play, image, name):
    """MENURA CPUS MACHINE [OPTION...]: play() with the kernel `image` and our initrd, made here if need be, and a folder that goes."""
    menura, cpus, machine, rest = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    guests = os.environ.get('MENURA_GUESTS') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'menura-guests')
    here = os.path.dirname(os.path.abspath(__file__))
    kernel, initrd = os.path.join(guests, image), os.path.join(guests, 'busybox.cpio.gz')
    if not (os.path.exists(kernel) and os.path.exists(initrd)) and subprocess.call([os.path.join(here, '../guests/make-initrd'), guests]):
        print('SKIP: the guest cannot be made here (see above)')
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix=f'menura-{name}.') as work:
        play(menura, cpus, machine, rest, kernel, initrd, work)


def command(menura, cpus, machine, rest, kernel, initrd, work):
    cmd = [menura, '-accel', 'tcg', '-M', machine.split('-')[0], '-smp', cpus, '-m', '512', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot',
           '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet pciehp.pciehp_debug=1',
           '-qmp', f'unix:{work}/qmp,server=on,wait=off']
    if machine.startswith('q35'):
        for i in range(3):
            cmd += ['-device', f'pcie-root-port,id=port{i},chassis={i + 1},port={i},addr={i + 2}']
    if machine == 'q35-native':
        cmd += ['-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off']
    return cmd + rest


def play(menura, cpus, machine, rest, kernel, initrd, work):
    data = os.urandom(4 << 20)
    with open(f'{work}/disk.img', 'wb') as f:
        f.write(data)
    g = Guest(command(menura, cpus, machine, rest, kernel, initrd, work))
    g.wait(rb'GUEST-READY')
    q = Qmp(f'{work}/qmp')
    bus = [{'bus': f'port{i}'} if machine.startswith('q35') else {} for i in range(3)]
    g.run('for m in virtio_pci virtio_rng virtio_net virtio_blk; do modprobe $m; done')
    before = g.run('ls /sys/bus/pci/devices')

    q('device_add', driver='virtio-rng-pci', id='rng1', **bus[0])
    g.until(LIST, '1af4 1044' if machine.startswith('q35') else '1af4 1005')
    g.until('cat /sys/class/misc/hw_random/rng_available', 'virtio_rng')
    check(g.run('dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c').strip() == '16', 'the entropy source gives nothing')
    check('Duplicate' in q.ask('device_add', driver='virtio-rng-pci', id='rng1', **bus[1])['error']['desc'], 'two of one name')

    q('netdev_add', type='hubport', id='net1', hubid=7)
    q('device_add', driver='virtio-net-pci', id='card1', netdev='net1', mac='52:54:00:11:22:33', **bus[1])
    g.until('cat /sys/class/net/*/address', '52:54:00:11:22:33')

    q('blockdev-add', **{'driver': 'file', 'node-name': 'disk1', 'filename': f'{work}/disk.img'})
    q('device_add', driver='virtio-blk-pci', id='blk1', drive='disk1', serial='HOT1', **bus[2])
    g.until('ls /dev', 'vda')
    check(hashlib.sha256(data).hexdigest() in g.run('sha256sum /dev/vda'), 'the disk reads wrong')
    check('PCI' in g.run('grep -i -c msi /proc/interrupts; echo PCI'), 'interrupts')
    r = q.ask('blockdev-del', node_name='disk1')
    check('in use' in r.get('error', {}).get('desc', ''), 'a disk in use was removed:', r)

    # the disk goes while it is read and written
    g.run('(while [ -b /dev/vda ]; do dd if=/dev/vda of=/dev/null bs=64k; done) >/dev/null 2>&1 & (while [ -b /dev/vda ]; do dd if=/dev/zero of=/dev/vda bs=4k count=64 conv=fsync,nocreat; done) >/dev/null 2>&1 & true')
    q('device_del', id='blk1')
    check('already in the process' in q.ask('device_del', id='blk1').get('error', {}).get('desc', 'already in the process'), 'asked twice')
    q.deleted('blk1')
    q('blockdev-del', node_name='disk1')
    g.until('ls /sys/block/vda 2>&1', 'No such file')
    q('device_del', id='card1')
    q.deleted('card1')
    q('netdev_del', id='net1')
    q('device_del', id='rng1')
    q.deleted('rng1')
    g.until('ls /sys/bus/pci/devices', before)
    check(q.ask('device_del', id='rng1')['error']['class'] == 'DeviceNotFound', 'what is gone is still there')

    # and again, at the guest's own wish
    q('device_add', driver='virtio-rng-pci', id='rng2', **bus[0])
    g.until('cat /sys/class/misc/hw_random/rng_available', 'virtio_rng')
    slot = g.run('for s in /sys/bus/pci/slots/*; do a=$(cat $s/address); [ -e /sys/bus/pci/devices/$a.0/virtio* ] && echo SLOT $s; done')
    check('SLOT ' in slot, 'no slot has it:', g.run('grep . /sys/bus/pci/slots/*/address; ' + LIST))
    g.run(f'echo 0 >{slot.split()[1]}/power')
    q.deleted('rng2')
    bad = g.run('dmesg | grep -E "Oops|BUG|WARNING|ACPI.*(Error|Exception)|can.t (assign|claim)|no space"')
    check(not bad.strip(), 'the kernel complains:', bad)
    g.p.stdin.write(b'poweroff -f\n')
    g.p.stdin.flush()
    limit = time.time() + PATIENCE
    while g.p.poll() is None:
        check(time.time() < limit, 'no power-off')
        time.sleep(0.1)
    check(g.p.returncode == 0, 'status', g.p.returncode)
    print(f'ok: {machine}, {cpus} CPUs: entropy, network card, disk')


if __name__ == '__main__':
    main(play, 'vmlinuz-cloud', 'hotplug')
