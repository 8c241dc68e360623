#!/usr/bin/env python3
"""move.py [--stops COUNT[,SEED]] MENURA KERNEL CPUS ACCEL ACCEL.. - move.elf starts under the first engine; its state is written with `migrate file:`, and a fresh
process under the next engine takes it with `-incoming file:`, and so on. After each move the kernel looks at all it held; its verdicts decide.
With --stops it is not moved when it has answered but stopped, moved or reset COUNT times at random moments of its boot and its work.
The CPU is menura64-v1; with KVM in it, less what this host's KVM lacks, and with the TSC frequency that it can do."""
import json, os, random, socket, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import models  # noqa: E402

stops = sys.argv.pop(2) if sys.argv[1] == '--stops' else None
if stops:
    del sys.argv[1]
program, kernel, cpus, *accels = sys.argv[1:]
uses_kvm = any(a.startswith('kvm') for a in accels)
machines = []
LIMIT = 240  # seconds for each step: some hosts' KVM emulates kernel code


def fail(text, folder):
    print(open(f'{folder}/console', errors='replace').read())
    for m in machines:
        if m.p.poll() is None and hasattr(m, 'lines') and not m.asked_last_words:
            m.asked_last_words = True
            for line in ('info registers -a', 'info lapic', 'info pic', 'info irq'):
                print(m.ask('human-monitor-command', **{'command-line': line}))
        m.p.kill()
    sys.exit(f'FAIL: {text}')


class Machine:
    def __init__(self, folder, n, accel, model, incoming):
        self.folder, self.what = folder, f'{n}, {accel}'
        qmp, serial = f'{folder}/qmp{n}', f'{folder}/serial{n}'
        args = [program, '-accel', accel, '-M', 'pc', '-m', '64', '-smp', cpus, '-cpu', model, '-nodefaults', '-display', 'none', '-no-reboot',
                '-kernel', kernel, '-append', ' '.join(['two'] * (cpus == '2') + ['kvm'] * uses_kvm), '-device', 'isa-debugcon,chardev=con', '-device', 'isa-debug-exit',
                '-chardev', f'file,id=con,path={folder}/console,append=on', '-chardev', f'socket,id=ser,path={serial},server=on,wait=off',
                '-serial', 'chardev:ser', '-qmp', f'unix:{qmp},server=on,wait=off']
        self.p = subprocess.Popen(args + (['-incoming', incoming] if incoming else []), stdin=subprocess.DEVNULL)
        machines.append(self)
        self.asked_last_words = False
        self.qmp, self.serial = self.connect(qmp), self.connect(serial)
        self.qmp.settimeout(LIMIT)
        self.lines = self.qmp.makefile('r')
        self.lines.readline()
        self.ask('qmp_capabilities')

    def connect(self, path):
        s = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                s.connect(path)
                return s
            except OSError:
                if self.p.poll() is not None:
                    fail(f'{self.what}: ended at once with status {self.p.returncode}', self.folder)
                time.sleep(0.1)
        fail(f'{self.what}: nobody listens at {path}', self.folder)

    def ask(self, name, **arguments):
        self.qmp.sendall(json.dumps({'execute': name, 'arguments': arguments}).encode() + b'\n')
        while True:
            line = self.lines.readline()
            if not line:
                fail(f'{self.what}: ended at {name}', self.folder)
            reply = json.loads(line)
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                fail(f'{self.what}: {name}: {reply["error"]["desc"]}', self.folder)

    def until(self, name, value):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            got = self.ask(name)
            if got.get('status') == value:
                return
            if got.get('status') == 'failed':
                break
            time.sleep(0.05)
        fail(f'{self.what}: {name}: {got}', self.folder)

    def until_text(self, text, since=0):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.p.poll() is None:
            if text in open(f'{self.folder}/console', errors='replace').read()[since:].splitlines():
                return
            time.sleep(0.02)
        fail(f'{self.what}: no "{text}"', self.folder)


def moved(machine, folder, n, accel, model, typed=b''):
    """The machine in a fresh process. What is typed before its state is there must not be lost."""
    state = f'{folder}/state{n}'
    machine.ask('migrate', uri='file:' + state)
    machine.until('query-migrate', 'completed')
    machine.ask('quit')
    machine.p.wait(LIMIT)
    machine = Machine(folder, n, accel, model, 'file:' + state)
    machine.serial.sendall(typed)
    if typed != b'q':  # which may end it before it is asked anything
        machine.until('query-status', 'running')
        os.unlink(state)
    return machine


def in_turn(machine, folder, model):
    """Each engine once: it answers, then it is moved while it holds, in ring 3."""
    machine.until_text('ready')
    machine.serial.sendall(b't')
    for turn, accel in enumerate(accels[1:], 1):
        machine.until_text(f'turn {turn}')
        time.sleep(0.1)
        machine = moved(machine, folder, turn, accel, model, b'q' if turn == len(accels) - 1 else b't')
    return machine


def at_random(machine, folder, model):
    """Stopped, moved, reset at any moment; now and then it has to answer."""
    count, _, seed = stops.partition(',')
    random.seed(seed or None)
    since, turn, counts = 0, 0, {'stop': 0, 'save': 0, 'reset': 0}
    for n in range(1, int(count) + 1):
        time.sleep(random.choice((0, 0.02, 0.3)) * random.random())
        what = random.choice(list(counts))
        counts[what] += 1
        if what == 'stop':
            machine.ask('stop')
            machine.until('query-status', 'paused')
            time.sleep(random.random() * 0.2)
            machine.ask('cont')
        elif what == 'save':
            machine = moved(machine, folder, n, accels[n % len(accels)], model)
        else:
            machine.ask('stop')
            since, turn = os.path.getsize(f'{folder}/console'), 0
            machine.ask('system_reset')
            machine.ask('cont')
        if random.random() < 0.3:
            machine.until_text('ready', since)
            turn += 1
            machine.serial.sendall(b't')
            machine.until_text(f'turn {turn}', since)
    machine.until_text('ready', since)
    print(', '.join(f'{counts[c]} times {c}' for c in counts))
    machine.serial.sendall(b'q')
    return machine


def main():
    with tempfile.TemporaryDirectory() as folder:
        why = uses_kvm and models.kvm_usable(program)
        if why:
            print(f'SKIP: {why}')
            sys.exit(77)
        open(f'{folder}/console', 'w').close()
        model = models.common(program, accels) if uses_kvm else 'menura64-v1'
        print('CPU model', model)
        machine = Machine(folder, 0, accels[0], model, None)
        machine = (at_random if stops else in_turn)(machine, folder, model)
        status = machine.p.wait(LIMIT)
        text = open(f'{folder}/console', errors='replace').read()
        print(text)
        if status != 1 or '\nPASSED' not in text:
            fail(f'status {status}', folder)


main()
