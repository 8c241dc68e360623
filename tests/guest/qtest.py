#!/usr/bin/env python3
"""qtest.py MENURA - the sessions of qtest.txt and qtest-devices.txt against this program, then against QEMU 10 where it is installed: both
answer what the data sheets say, with -accel qtest and (without time) beside -accel tcg -S. Then requests that only we must survive."""
import fnmatch, os, re, select, shutil, subprocess, sys, tempfile, time

LIMIT = 60


def devices(work):
    """What qtest-devices.txt is about: 256 sectors each, filled with their number; a floppy likewise."""
    args = []
    for name, sectors in (('ide', 256), ('ahci', 256), ('virtio', 256), ('floppy', 2880)):
        with open(os.path.join(work, name), 'wb') as f:
            for n in range(sectors):
                f.write(bytes([n & 255]) * 512)
        args += ['-drive', f'if=none,id={name},format=raw,file={f.name}']
    return args + ['-device', 'ide-hd,drive=ide,bus=ide.0,unit=0', '-device', 'ahci,id=ahci,addr=4', '-device', 'ide-hd,drive=ahci,bus=ahci.0',
                   '-device', 'virtio-blk-pci,drive=virtio,addr=5,vectors=0', '-device', 'e1000,addr=6,mac=52:54:00:12:34:56',
                   '-device', 'floppy,drive=floppy,drive-type=144']


class Session:
    def __init__(self, program, accel, rom, more=()):
        self.p = subprocess.Popen(program + accel + [*more, '-display', 'none', '-nodefaults', '-m', '16', '-bios', rom, '-qtest', 'stdio', '-qtest-log', 'none'],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.have = b''

    def line(self):
        end = time.time() + LIMIT
        while b'\n' not in self.have:
            ready, _, _ = select.select([self.p.stdout], [], [], max(0, end - time.time()))
            piece = os.read(self.p.stdout.fileno(), 1 << 16) if ready else b''
            if not piece:
                sys.exit(f'FAIL: no answer; status {self.p.poll()}')
            self.have += piece
        text, self.have = self.have.split(b'\n', 1)
        return text.decode()

    def ask(self, request):
        """The answer and the IRQ lines that came before it."""
        self.p.stdin.write(request + b'\n')
        self.p.stdin.flush()
        wires = []
        while True:
            answer = self.line()
            if not answer.startswith('IRQ '):
                return answer, wires
            wires.append(answer)

    def end(self):
        self.p.kill()
        self.p.wait()


def ask_until(session, command, wanted):
    """Disks answer when they are ready."""
    end = time.time() + LIMIT
    while not fnmatch.fnmatchcase((answer := session.ask(command))[0], wanted) and time.time() < end:
        time.sleep(0.005)
    return answer


def run_script(name, script, session, clock):
    bad, n = 0, 0
    request = None
    for text in open(os.path.join(os.path.dirname(__file__), script)).read().splitlines():
        if not text or text.startswith('#'):
            continue
        if text[:2] not in ('= ', '! ', '~ '):
            request, wanted = text, []
            continue
        if request.startswith('@clock '):
            if not clock:
                continue
            command = request[7:]
        else:
            command = request
        if text[0] == '!':
            wanted.append(text[2:])
            continue
        times, _, rest = command.partition(' ')
        if times.startswith('*'):
            answers = [session.ask(rest.encode()) for _ in range(int(times[1:]))]
            answer, wires = next((a for a in answers if not fnmatch.fnmatchcase(a[0], text[2:])), answers[0])
        elif text[0] == '~':
            answer, wires = ask_until(session, command.encode(), text[2:])
        else:
            answer, wires = session.ask(command.encode())
        n += 1
        missing = [w for w in wanted if not any(fnmatch.fnmatchcase(x, w) for x in wires)]
        if not fnmatch.fnmatchcase(answer, text[2:]) or missing:
            print(f'FAIL: {name}: {command}: {answer} (want {text[2:]}), wires {wires} lack {missing}')
            bad += 1
    print(f'{name}: {script}: {n} requests, {bad} wrong')
    return bad


def run_devices(name, program, accel, rom, clock):
    with tempfile.TemporaryDirectory() as work:
        s = Session(program, accel, rom, devices(work))
        bad = run_script(name, 'qtest-devices.txt', s, clock)
        s.end()
    return bad


def garbage(session):
    bad = 0
    for r in [b'', b' ', b'\t\t', b'inb', b'inb 0x', b'inb -1', b'inb 99999', b'outb 0x70', b'read 0 0', b'read 0 99999999999999999999', b'read 0xffffffffffffffff 2',
              b'write 0 4 zz', b'write 0 4 0xzz', b'b64write 0 4 !!!', b'memset 0 0xffffffffffffffff 0', b'irq_intercept_in nowhere', b'clock_step x', b'clock_step -5',
              b'set_irq_in ioapic irq 4294967296 1', b'set_irq_in nowhere irq 0 1', b'\x00\x01\xff\xfe', b'a b c d e f g h', b'read 0 1 ' * 100, b'rtas a b c d e f', b'x' * 100000]:
        answer, _ = session.ask(r)
        if not re.match(r'(FAIL|ERR) ', answer) or len(answer) > 200:
            print(f'FAIL: {r[:60]}: {answer[:200]}')
            bad += 1
    answer, _ = session.ask(b'endianness')
    return bad + (answer != 'OK little')


def main():
    rom = tempfile.NamedTemporaryFile()
    rom.write(bytes(0xfff0) + b'\xeb\xfe' + bytes(14))
    rom.flush()
    bad = 0
    ways = [('qtest', ['-accel', 'qtest'], True), ('tcg -S', ['-accel', 'tcg', '-S'], False)]
    for name, accel, clock in ways:
        s = Session([sys.argv[1]], accel, rom.name)
        bad += run_script('menura ' + name, 'qtest.txt', s, clock)
        bad += garbage(s)
        s.end()
        bad += run_devices('menura ' + name, [sys.argv[1]], accel, rom.name, clock)
    qemu = shutil.which('qemu-system-x86_64')
    version = re.search(r'version (\d+)', subprocess.run([qemu, '-version'], capture_output=True, text=True).stdout) if qemu else None
    if version and int(version[1]) >= 10:
        known = subprocess.run([qemu, '-accel', 'help'], capture_output=True, text=True).stdout.split()
        for name, accel, clock in ways:
            if accel[1] not in known:
                print(f'skipped: qemu {name}: this QEMU was built without that accelerator')
                continue
            s = Session([qemu], accel, rom.name)
            bad += run_script('qemu ' + name, 'qtest.txt', s, clock)
            s.end()
            bad += run_devices('qemu ' + name, [qemu], accel, rom.name, clock)
    else:
        print('skipped: the same against QEMU: ' + (f'version {version[1]} is older than 10' if version else 'qemu-system-x86_64 is not installed'))
    sys.exit(bad != 0)


main()
