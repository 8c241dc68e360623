#!/usr/bin/env python3
"""snapshots.py MENURA [MACHINE [BUS [ACCEL [ROUNDS]]]] - Linux with our busybox initrd writes and checks a disk without end while a
snapshot of the machine is made in the middle, in a folder beside a raw image; it goes back ROUNDS times, in the same process and in
fresh ones (-loadvm), and each time the guest goes on where it was and finds every block as it left it. kill -9 in between.
BUS: virtio ide ahci nvme scsi. By hand: snapshots.py build/app/menura q35 nvme tcg,jit=off 10"""
import json, os, random, re, shutil, socket, subprocess, sys, tempfile, threading, time

here = os.path.dirname(os.path.abspath(__file__))
program, machine, bus, accel, rounds = (sys.argv + ['pc', 'virtio', 'tcg', '10'][len(sys.argv) - 2:])[1:6]
disks = {'virtio': (['-device', 'virtio-blk-pci,drive=d'], '/dev/vda'), 'ide': (['-device', 'ide-hd,drive=d'], '/dev/sda'),
         'ahci': (['-device', 'ahci,id=hba', '-device', 'ide-hd,bus=hba.0,drive=d'], '/dev/sda'),
         'nvme': (['-device', 'nvme,serial=1,drive=d'], '/dev/nvme0n1'),
         'scsi': (['-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=d'], '/dev/sda')}
LIMIT = 300
PATTERN = r'''pat() { yes "block $1 value $2" | head -c 16384; }
look() { [ "$(dd if=$D bs=16k skip=$1 count=1 iflag=direct 2>/dev/null | sha256sum)" = "$(pat $1 $(cat /tmp/b$1) | sha256sum)" ] || echo "BAD"-block $1; }
work() { i=0; while :; do i=$((i + 1)); b=$((i * 7 % 61)); pat $b $i | dd of=$D bs=16k seek=$b conv=notrunc,fsync 2>/dev/null; echo $i >/tmp/b$b; look $b
[ $i -gt 61 ] && look $((i * 13 % 61)); echo "STEP"-$i; done; }'''


def fail(*what):
    print('FAIL:', *what)
    sys.exit(1)


class Machine:
    def __init__(self, work, guests, loadvm=None, expect_refused=False):
        self.out = f'{work}/serial'
        for f in ('qmp', 'in'):
            if os.path.exists(f'{work}/{f}'):
                os.unlink(f'{work}/{f}')
        args = [program, '-M', machine, '-accel', accel, '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot', '-snapdir', f'{work}/snaps',
                '-chardev', f'socket,id=ser,path={work}/in,server=on,wait=off,logfile={self.out},logappend=on', '-serial', 'chardev:ser',
                '-qmp', f'unix:{work}/qmp,server=on,wait=off', '-drive', f'if=none,id=d,format=raw,file={work}/disk',
                '-kernel', f'{guests}/vmlinuz', '-initrd', f'{guests}/busybox.cpio.gz', '-append', 'console=ttyS0 quiet no_timer_check'] + disks[bus][0]
        self.p = subprocess.Popen(args + (['-loadvm', loadvm] if loadvm else []), stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE if expect_refused else None, text=True)
        if expect_refused:
            return
        self.s = self.connect(f'{work}/qmp')
        self.serial = self.connect(f'{work}/in')
        self.serial.settimeout(None)
        threading.Thread(target=self.drain, daemon=True).start()
        self.f = self.s.makefile('r')
        self.f.readline()
        self.ask('qmp_capabilities')

    def drain(self):
        """What nobody reads stops the guest: a socket holds some 280 writes of a byte. The log has it all."""
        try:
            while self.serial.recv(4096):
                pass
        except OSError:
            pass

    def connect(self, path):
        s = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                s.connect(path)
                s.settimeout(LIMIT)
                return s
            except OSError:
                if self.p.poll() is not None:
                    fail('it ended at once with status', self.p.returncode)
                time.sleep(0.1)
        fail('no socket', path)

    def ask(self, name, **arguments):
        self.s.sendall(json.dumps({'execute': name, 'arguments': arguments}).encode() + b'\n')
        while True:
            reply = json.loads(self.f.readline() or fail('it ended', name))
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                fail(name, reply['error']['desc'])

    def hmp(self, line, ok=''):
        text = self.ask('human-monitor-command', **{'command-line': line}).replace('\r', '').strip()
        if ok is not None and text != ok:
            fail(line, 'said:', text)
        return text

    def text(self):
        with open(self.out, 'rb') as f:
            return f.read().decode(errors='replace')

    def steps(self, since=0):
        text = self.text()[since:]
        if 'BAD-block' in text or 'I/O error' in text or 'GUEST-BROKEN' in text or 'Kernel panic' in text:
            fail('the guest found', text[-600:])
        return [int(n) for n in re.findall(r'STEP-(\d+)', text)]

    def until(self, what, fn):
        end = time.time() + LIMIT
        while time.time() < end:
            if fn():
                return
            if self.p.poll() is not None:
                fail('it ended while waiting for', what, self.text()[-400:])
            time.sleep(0.1)
        fail('no', what, self.text()[-800:])

    def say(self, line):
        self.serial.sendall(line.encode() + b'\n')

    def kill(self):
        self.p.kill()
        self.p.wait()

    def quit(self):
        self.ask('quit')
        self.p.wait(60)


def goes_on(m, at, lowest):
    """From the console's byte `at` on the guest continues with the step after `lowest` or a little later, and gets further."""
    m.until('step after the load', lambda: len(m.steps(at)) >= 3)
    first = m.steps(at)[0]
    if not lowest <= first <= lowest + 2:
        fail(f'after the load it goes on with step {first}, the snapshot was at {lowest}')


def main():
    guests = os.environ.get('MENURA_GUESTS') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'menura-guests')
    if not os.path.exists(f'{guests}/busybox.cpio.gz') and subprocess.call([f'{here}/../guests/make-initrd', guests]):
        print('SKIP: the guest cannot be made here')
        sys.exit(77)
    work = tempfile.mkdtemp()
    random.seed(5)
    try:
        with open(f'{work}/disk', 'wb') as f:
            f.truncate(256 << 20)
        play(work, guests)
    finally:
        shutil.rmtree(work)


def mark(m, name):
    """A snapshot, and the last step before it. The console may lag by a few bytes: the machine stands still meanwhile."""
    m.ask('stop')
    m.hmp('savevm ' + name)
    time.sleep(0.3)
    n = m.steps()[-1]
    m.ask('cont')
    return n


def play(work, guests):
    m = Machine(work, guests)
    m.until('shell', lambda: '/ # ' in m.text())  # what is typed before is thrown away
    m.say('stty -echo')
    m.say('D=' + disks[bus][1])
    for line in PATTERN.split('\n'):
        m.say(line)
    m.say('work')
    m.until('steps', lambda: len(m.steps()) > 70)
    one = mark(m, 'one')
    m.until('more steps', lambda: m.steps()[-1] > one + 20)
    began = time.time()
    m.hmp('savevm two')  # while it writes
    print(f'savevm while it writes: {time.time() - began:.2f} s')
    for n in range(int(rounds)):
        if n % 4 == 3:
            if n % 8 == 3:
                m.quit()
            else:
                m.kill()
            at = len(m.text())
            began = time.time()
            m = Machine(work, guests, 'one')
        else:
            m.ask('stop')
            at = len(m.text())
            m.ask('cont')
            began = time.time()
            m.hmp('loadvm one')
        print(f'load {n}: {time.time() - began:.2f} s')
        m.until('a step', lambda: any(s <= one + 2 for s in m.steps(at)))
        goes_on(m, at + m.text()[at:].find(f'STEP-{one + 1}'), one)
        time.sleep(random.random() * 3)
    m.hmp('loadvm two')
    at = len(m.text())
    m.until('steps after two', lambda: len(m.steps(at)) > 3)
    listed = m.hmp('info snapshots', ok=None)
    if 'one' not in listed or 'two' not in listed:
        fail('info snapshots said', listed)
    m.hmp('delvm one')
    m.hmp('loadvm two')
    at = len(m.text())
    m.until('steps after two again', lambda: len(m.steps(at)) > 3)
    m.quit()
    changed_outside(work, guests)


def changed_outside(work, guests):
    with open(f'{work}/disk', 'r+b') as f:
        f.seek(1 << 20)
        f.write(b'x')
    m = Machine(work, guests, 'two', expect_refused=True)
    said = m.p.communicate(timeout=LIMIT)[1]
    if m.p.returncode != 1 or 'something else has changed' not in said:
        fail('a changed image was taken:', m.p.returncode, said)
    print(said.strip())


main()
