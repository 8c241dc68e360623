#!/usr/bin/env python3
"""stops.py MENURA [COUNT [SEED [CPUS [ACCEL [GUEST]]]]] - a guest boots while it is stopped, saved and loaded into a fresh process, and reset, COUNT times
at random points. The boot must complete. GUEST is busybox (Debian's cloud kernel and our initrd's self-test, powers itself off) or text (Debian from
a copy of tests/guests/make-text's disk; asked to power off once it is there). By hand: stops.py build/app/menura 100."""
import json, os, random, signal, socket, subprocess, sys, tempfile, time

here = os.path.dirname(os.path.abspath(__file__))
program = sys.argv[1]
count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
cpus = sys.argv[4] if len(sys.argv) > 4 else '1'
accel = sys.argv[5] if len(sys.argv) > 5 else 'tcg'
kind = sys.argv[6] if len(sys.argv) > 6 else 'busybox'
BOOTS = {  # files of the guest; its command line; what its console says when it is there
    'busybox': (('vmlinuz-cloud', 'busybox.cpio.gz'), '-m 256 -kernel {guest}/vmlinuz-cloud -initrd {guest}/busybox.cpio.gz', 'console=ttyS0 selftest', 'SELFTEST end ok'),
    'text': (('vmlinuz', 'initrd.img', 'text-bios.img'), '-m 512 -kernel {guest}/vmlinuz -initrd {guest}/initrd.img -drive file={folder}/disk.img,format=raw,if=virtio',
             'root=LABEL=text-root console=ttyS0', 'GUEST-READY text'),
}
files, machine_args, append, THERE = BOOTS[kind]
LIMIT = 600  # seconds from the last disturbance to the end


class Ended(Exception):
    pass


class Machine:
    def __init__(self, folder, guest, incoming=None):
        self.path = os.path.join(folder, 'qmp')
        if os.path.exists(self.path):
            os.unlink(self.path)
        args = [program, '-accel', accel, '-smp', cpus, '-nodefaults', '-display', 'none', '-no-reboot', '-rtc', 'clock=vm',  # a stop must not set the guest's two clocks apart
               
                '-chardev', f'file,id=out,path={folder}/serial,append=on', '-serial', 'chardev:out', '-qmp', f'unix:{self.path},server=on,wait=off',
                *machine_args.format(guest=guest, folder=folder).split(), '-append', append]
        self.p = subprocess.Popen(args + (['-incoming', incoming] if incoming else []), stdin=subprocess.DEVNULL)
        self.s = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                self.s.connect(self.path)
                break
            except OSError:
                if self.p.poll() is not None:
                    sys.exit(f'FAIL: it ended at once with status {self.p.returncode}')
                time.sleep(0.1)
        self.s.settimeout(120)
        self.f = self.s.makefile('r')
        self.f.readline()
        self.ask('qmp_capabilities')

    def ask(self, name, **arguments):
        try:
            self.s.sendall(json.dumps({'execute': name, 'arguments': arguments}).encode() + b'\n')
            while True:
                line = self.f.readline()
                if not line:
                    raise Ended
                reply = json.loads(line)
                if 'return' in reply:
                    return reply['return']
                if 'error' in reply:
                    sys.exit(f'FAIL: {name}: {reply["error"]["desc"]}')
        except (BrokenPipeError, ConnectionResetError):
            raise Ended

    def wait_for(self, name, key, value):
        for _ in range(1200):
            got = self.ask(name).get(key)
            if got == value:
                return
            if got == 'failed':
                sys.exit(f'FAIL: {name}: {self.ask(name)}')
            time.sleep(0.1)
        sys.exit(f'FAIL: {name}: {key} is {got}, not {value}')


def disturb(machine, folder, guest, what):
    if what == 'stop':
        machine.ask('stop')
        machine.wait_for('query-status', 'status', 'paused')
        time.sleep(random.random())
        machine.ask('cont')
    elif what == 'reset':
        machine.ask('system_reset')
    else:
        state = os.path.join(folder, 'state')
        machine.ask('migrate', uri='file:' + state)
        machine.wait_for('query-migrate', 'status', 'completed')
        machine.ask('quit')
        machine.p.wait(60)
        machine = Machine(folder, guest, 'file:' + state)
        machine.wait_for('query-status', 'status', 'running')
    return machine


def ask_off(machine, serial, since):
    """Once it is there, the power button."""
    for _ in range(LIMIT):
        if THERE in open(serial, errors='replace').read()[since:] or machine.p.poll() is not None:
            break
        time.sleep(1)
    machine.ask('system_powerdown')


def main():
    guest = os.environ.get('MENURA_GUESTS') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'menura-guests')
    if not all(os.path.exists(f'{guest}/{f}') for f in files):
        if subprocess.call([os.path.join(here, '../guests/make-initrd' if kind == 'busybox' else '../guests/make-text'), guest]):
            print('SKIP: the guest cannot be made here (see above)')
            sys.exit(77)
    random.seed(seed)
    print(f'seed {seed}', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if kind == 'text':
            subprocess.run(['cp', '--sparse=always', f'{guest}/text-bios.img', f'{folder}/disk.img'], check=True)
        last_reset = 0
        machine = Machine(folder, guest)
        try:
            for n in range(count):
                time.sleep(random.uniform(0.1, 5))
                what = random.choice(['stop', 'save', 'save', 'reset'] if n else ['save'])
                done = os.path.getsize(f'{folder}/serial')
                print(f'{n + 1}: {what} after {done} bytes of console', flush=True)
                machine = disturb(machine, folder, guest, what)
                last_reset = done if what == 'reset' else last_reset
            if kind == 'text':
                ask_off(machine, f'{folder}/serial', last_reset)
        except Ended:
            print('it powered off meanwhile')
        try:
            status = machine.p.wait(LIMIT)
        except subprocess.TimeoutExpired:
            machine.p.send_signal(signal.SIGTERM)
            machine.p.wait(60)
            status = 'none: it hangs'
        text = open(f'{folder}/serial', errors='replace').read()
        if status != 0 or THERE not in text or 'Kernel panic' in text:
            sys.exit(f'FAIL: status {status}; the console ends:\n{text[-3000:]}')
        print('the boot completed')


main()
