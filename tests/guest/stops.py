#!/usr/bin/env python3
"""stops.py MENURA [COUNT [SEED [CPUS [ACCEL]]]] - Debian's cloud kernel boots to our busybox initrd's self-test while it is stopped, saved and loaded
into a fresh process, and reset, COUNT times at random points. The boot must complete. By hand: stops.py build/app/menura 100."""
import json, os, random, signal, socket, subprocess, sys, tempfile, time

here = os.path.dirname(os.path.abspath(__file__))
program = sys.argv[1]
count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
cpus = sys.argv[4] if len(sys.argv) > 4 else '1'
accel = sys.argv[5] if len(sys.argv) > 5 else 'tcg'
LIMIT = 600  # seconds from the last disturbance to the end


class Ended(Exception):
    pass


class Machine:
    def __init__(self, folder, guest, incoming=None):
        self.path = os.path.join(folder, 'qmp')
        if os.path.exists(self.path):
            os.unlink(self.path)
        args = [program, '-accel', accel, '-smp', cpus, '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot',
                '-chardev', f'file,id=out,path={folder}/serial,append=on', '-serial', 'chardev:out', '-qmp', f'unix:{self.path},server=on,wait=off',
                '-kernel', f'{guest}/vmlinuz-cloud', '-initrd', f'{guest}/busybox.cpio.gz', '-append', 'console=ttyS0 selftest']
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


def main():
    guest = os.environ.get('MENURA_GUESTS') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'menura-guests')
    if not all(os.path.exists(f'{guest}/{f}') for f in ('vmlinuz-cloud', 'busybox.cpio.gz')):
        if subprocess.call([os.path.join(here, '../guests/make-initrd'), guest]):
            print('SKIP: the guest cannot be made here (see above)')
            sys.exit(77)
    random.seed(seed)
    print(f'seed {seed}', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(folder, guest)
        try:
            for n in range(count):
                time.sleep(random.uniform(0.1, 5))
                what = random.choice(['stop', 'save', 'save', 'reset'] if n else ['save'])
                done = os.path.getsize(f'{folder}/serial')
                print(f'{n + 1}: {what} after {done} bytes of console', flush=True)
                machine = disturb(machine, folder, guest, what)
        except Ended:
            print('it powered off meanwhile')
        try:
            status = machine.p.wait(LIMIT)
        except subprocess.TimeoutExpired:
            machine.p.send_signal(signal.SIGTERM)
            machine.p.wait(60)
            status = 'none: it hangs'
        text = open(f'{folder}/serial', errors='replace').read()
        if status != 0 or 'SELFTEST end ok' not in text or 'Kernel panic' in text:
            sys.exit(f'FAIL: status {status}; the console ends:\n{text[-3000:]}')
        print('the boot completed')


main()
