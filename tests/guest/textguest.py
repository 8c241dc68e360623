"""textguest.py - for tests of Debian's text guest (tests/guests/make-text): a machine with its serial shell, QMP and screen, disks on
each bus, a user network with servers on our loopback. Functions end the test with a line 'FAIL: ..' when what they wait for does not come."""
import functools, hashlib, http.server, json, os, re, select, shutil, socket, subprocess, sys, tempfile, threading, time

here = os.path.dirname(os.path.abspath(__file__))
ESCAPES = re.compile(rb'\x1b(?:\[[0-?]*[ -/]*[@-~]|[()*+#%].|\][^\x07\x1b]*(?:\x07|\x1b\\)|[=>78cDEHMNOZ])|[\r\x00\x07\x0e\x0f]')
DISKS = {  # arguments that put drive NAME on this bus as disk ID
    'ide': lambda name, more='': ['-device', f'ide-hd,drive={name}{more}'],
    'ahci': lambda name, more='': ['-device', f'ahci,id=ahci-{name}', '-device', f'ide-hd,bus=ahci-{name}.0,drive={name}{more}'],
    'virtio-blk': lambda name, more='': ['-device', f'virtio-blk-pci,drive={name}{more}'],
    'nvme': lambda name, more='': ['-device', f'nvme,serial={name},drive={name}{more}'],
    'virtio-scsi': lambda name, more='': ['-device', f'virtio-scsi-pci,id=scsi-{name}', '-device', f'scsi-hd,bus=scsi-{name}.0,drive={name}{more}'],
    'usb': lambda name, more='': ['-device', f'qemu-xhci,id=xhci-{name}', '-device', f'usb-storage,bus=xhci-{name}.0,drive={name}{more}'],
}
OVMF = ('/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd')


class Failed(Exception):
    pass


def skip(why):
    print(f'SKIP: {why}')
    sys.exit(77)


def images():
    """The folder of guests, with the text guest in it."""
    folder = os.environ.get('MENURA_GUESTS') or os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'menura-guests')
    if not all(os.path.exists(f'{folder}/{f}') for f in ('text-bios.img', 'text-uefi.img', 'vmlinuz', 'initrd.img')):
        if subprocess.call([os.path.join(here, '../guests/make-text'), folder]):
            skip('the guest cannot be made here (see above)')
    return folder


def known(program, device):
    return f'name "{device}"' in subprocess.run([program, '-device', 'help'], capture_output=True, text=True).stdout


def has_bus(program, bus):
    return bus != 'usb' or (known(program, 'usb-storage') and known(program, 'qemu-xhci'))


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def serve(folder):
    """An HTTP server of that folder on our loopback -> its port."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *a):
            pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def direct(folder, append=''):
    """Arguments that start the text guest's kernel without firmware's disk drivers and GRUB."""
    return ['-kernel', f'{folder}/vmlinuz', '-initrd', f'{folder}/initrd.img', '-append', f'root=LABEL=text-root console=tty0 console=ttyS0 quiet no_timer_check {append}']


def system_disk(folder, bus, kind='bios'):
    """The text guest's disk as a snapshot, the first one to boot from."""
    return ['-drive', f'if=none,id=system,format=raw,snapshot=on,file={folder}/text-{kind}.img', *DISKS[bus]('system', ',bootindex=0')]


class Guest:
    """One run. serial and QMP are sockets that the emulator connects to; `said` is all that the serial port sent."""

    def __init__(self, program, args, limit=300):
        self.folder = tempfile.TemporaryDirectory(prefix='textguest.')
        self.limit, self.said, self.at, self.count = limit, '', 0, 0
        listeners = {}
        for name in ('serial', 'qmp'):
            listeners[name] = socket.socket(socket.AF_UNIX)
            listeners[name].bind(f'{self.folder.name}/{name}')
            listeners[name].listen(1)
            listeners[name].settimeout(60)
        self.p = subprocess.Popen([program, *args, '-display', 'none', '-serial', f'unix:{self.folder.name}/serial', '-qmp', f'unix:{self.folder.name}/qmp'],
                                  stdin=subprocess.DEVNULL)
        try:
            self.serial, self.control = listeners['serial'].accept()[0], listeners['qmp'].accept()[0]
        except TimeoutError:
            self.kill()
            raise Failed(f'it did not connect, status {self.p.returncode}')
        self.control.settimeout(120)
        self.answers = self.control.makefile('r')
        self.answers.readline()
        self.qmp('qmp_capabilities')

    def qmp(self, name, /, **arguments):
        self.control.sendall(json.dumps({'execute': name, 'arguments': arguments}).encode() + b'\n')
        while True:
            line = self.answers.readline()
            if not line:
                raise Failed(f'QMP closed at {name}')
            answer = json.loads(line)
            if 'error' in answer:
                raise Failed(f'{name}: {answer["error"]["desc"]}')
            if 'return' in answer:
                return answer['return']

    def read(self, seconds):
        if not select.select([self.serial], [], [], seconds)[0]:
            return True
        try:
            data = self.serial.recv(65536)
        except ConnectionResetError:
            data = b''
        self.said += ESCAPES.sub(b'', data).decode('utf-8', 'replace')
        if m := re.search('Kernel panic.*|Oops:.*|BUG: .*|soft lockup.*', self.said[self.at:]):
            end = time.monotonic() + 2
            while (left := end - time.monotonic()) > 0 and select.select([self.serial], [], [], left)[0]:
                self.said += ESCAPES.sub(b'', self.serial.recv(65536) or b'\n').decode('utf-8', 'replace')
            raise Failed(f'the guest says: {self.said[self.at + m.start():][:1500]}')
        return bool(data)

    def wait(self, regex, limit=None):
        """The next match, which later waits begin after."""
        end = time.monotonic() + (limit or self.limit)
        while not (m := re.compile(regex, re.M).search(self.said, self.at)):
            if time.monotonic() > end or not self.read(1):
                raise Failed(f'no {regex!r}; the console ends:\n{self.said[-1500:]}')
        self.at = m.end()
        return m

    def type(self, line):
        self.serial.sendall(line.encode() + b'\r')

    def login(self):
        """Until root's shell on the serial port is there, which then echoes nothing -> seconds of the guest's uptime."""
        uptime = int(self.wait(r'GUEST-READY text \S+ (\d+)')[1])
        self.type("stty -echo; PS1= ; echo HERE-$((1 + 1)); exec bash --noediting --norc")
        self.wait('HERE-2')
        for last in (False, False, True):  # a shell that begins may throw away what was typed before
            self.type("dmesg -n 1; PS1= ; PS2= ; echo SHELL-$((1 + 1))")  # the kernel does not talk into answers
            try:
                self.wait('SHELL-2', None if last else 20)
                break
            except Failed:
                if last or not 'no ' in str(sys.exc_info()[1])[:4]:
                    raise
        return uptime

    def run(self, command, limit=None, fails=False):
        """Its output; a status other than 0 fails the test unless `fails`, then (status, output)."""
        self.count += 1
        begin = self.at
        self.type(f'{{ {command}\n}} </dev/null 2>&1; echo "[{self.count}=$?]"')
        m = self.wait(rf'\[{self.count}=(\d+)\]', limit)
        output = self.said[begin:m.start()].lstrip('\n')
        if fails:
            return int(m[1]), output
        if m[1] != '0':
            raise Failed(f'in the guest: {command}: status {m[1]}\n{output[-1500:]}')
        return output

    def screen(self, path=None):
        """What a person reads on the screen."""
        path = path or f'{self.folder.name}/screen.png'
        self.qmp('screendump', filename=path, format='png')
        return subprocess.run([os.path.join(here, '../guests/ocr-screen'), path], capture_output=True, text=True).stdout

    def poweroff(self, limit=600):
        """By the guest's own command -> exit status."""
        self.type('poweroff')
        end = time.monotonic() + limit
        while self.p.poll() is None:
            if time.monotonic() > end:
                raise Failed(f'no power-off within {limit} s; the console ends:\n{self.said[-1500:]}')
            if not self.read(0.2):
                time.sleep(0.1)
        return self.p.returncode

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.kill()
        self.serial.close()
        self.answers.close()
        self.control.close()
        self.folder.cleanup()
