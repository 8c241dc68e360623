#!/usr/bin/env python3
"""disk-errors.py MENURA MENURA-IMG MENURA-NBD [BUSES] - fio --verify in Debian's text guest on a disk on each bus while the host fails it: a file system that is full
(again and again; room is made in steps), I/O errors that blkdebug makes, an NBD server that is killed. Each stops the machine (werror=stop, rerror=stop, werror=enospc), the
monitor says why, `cont` goes on; once it is saved while it stands and goes on in another process, once it goes back to a snapshot of such a moment. fio sees no error and no wrong
byte, the guest's kernel complains of nothing."""
import json, os, re, subprocess, sys, tempfile, time
import textguest
from textguest import DISKS, Failed, Guest

SIZE = 32
FIO = f'--direct=1 --ioengine=libaio --iodepth=8 --rw=randrw --bs=16k --size={SIZE}m --time_based --runtime=75 --verify=crc32c --verify_backlog=64 --verify_fatal=1'
SMALL = 72  # MiB of the file system that two disks cannot fill, with the ballast in it


class Lab:
    def __init__(self, work, tools, buses, folder):
        self.work, (self.program, self.img, self.nbd), self.buses, self.folder, self.far, self.why = work, tools, buses, folder, None, {}
        self.small, self.sock = f'{work}/small', f'{work}/nbd'
        os.makedirs(self.small, exist_ok=True)
        self.full, self.bad = buses, buses[:2]  # disks on the small file system; with errors of blkdebug
        self.paths = {**{f'full-{b}': f'{self.small}/full-{b}' for b in self.full}, **{f'bad-{b}': f'{work}/bad-{b}' for b in self.bad}, 'far': f'{work}/far'}
        for n, path in enumerate(self.paths.values()):
            subprocess.run([self.img, 'create', '-q', '-f', self.format(path), path, f'{SIZE + n}M'], check=True)
        subprocess.run([self.img, 'create', '-q', '-f', 'qcow2', '-b', f'{folder}/text-bios.img', '-F', 'raw', f'{work}/system'], check=True)
        self.ballast = 0

    def format(self, path):
        """What a server of qcow2 that is killed had not flushed may be gone; of raw the host has it."""
        return 'raw' if path.endswith('/far') else 'qcow2'

    def fill(self):
        """No room but for this much is left."""
        v = os.statvfs(self.small)
        with open(f'{self.small}/ballast', 'ab') as f:
            f.write(bytes(max(0, v.f_bavail * v.f_bsize - (3 << 20))))
        self.ballast = os.path.getsize(f'{self.small}/ballast')

    def make_room(self, mib):
        self.ballast = max(0, self.ballast - (mib << 20))
        os.truncate(f'{self.small}/ballast', self.ballast)

    def serve(self):
        if os.path.exists(self.sock):
            os.unlink(self.sock)
        self.far = subprocess.Popen([self.nbd, '-t', '-k', self.sock, '-f', 'raw', f'{self.work}/far'])
        while not os.path.exists(self.sock):
            time.sleep(0.02)

    def vanish(self):
        self.far.kill()
        self.far.wait()

    def start(self, *more, errors=True):
        disk = lambda bus, name, node, policy: ['-drive', f'if=none,id={name},{node},{policy}', *DISKS[bus](name)]
        args = ['-accel', 'tcg', '-smp', '2', '-m', '512', '-nic', 'none', *textguest.direct(self.folder), '-snapdir', f'{self.work}/snaps',
                '-drive', f'if=none,id=system,format=qcow2,file={self.work}/system', *DISKS['virtio-blk']('system')]
        for bus in self.full:
            args += disk(bus, f'full-{bus}', f'format=qcow2,file={self.small}/full-{bus}', 'werror=enospc')
        for n, bus in enumerate(self.bad):
            rules = '' if not errors else ''.join(f',file.inject-error.{i}.event={e},file.inject-error.{i}.errno={err},file.inject-error.{i}.once=on,file.inject-error.{i}.sector={s}'
                            for i, (e, err, s) in enumerate([('write_aio', 5, 9000 + 4000 * n), ('read_aio', 5, 20000), ('write_aio', 28, 30000), ('read_aio', 5, 41000)]))
            args += disk(bus, f'bad-{bus}', f'format=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename={self.work}/bad-{bus}' + rules, 'werror=stop,rerror=stop')
        args += disk('virtio-blk', 'far', f'format=raw,file.driver=nbd,file.server.type=unix,file.server.path={self.sock}', 'werror=stop,rerror=stop')
        return Guest(self.program, args + list(more), 900)


def status(g):
    return g.qmp('query-status')['status']


def reasons(lab, g):
    """What io-status says of each disk that stopped it."""
    bad = {b['device']: b['io-status'] for b in g.qmp('query-block') if b.get('io-status', 'ok') != 'ok'}
    for name, what in bad.items():
        if what not in (('nospace',) if name.startswith('full') else ('failed', 'nospace')):
            raise Failed(f'{name} stopped it: {what}')
        lab.why[name] = lab.why.get(name, 0) + 1
    return bad


def stands(lab, g, limit=120):
    """Waits until it stops -> why."""
    end = time.monotonic() + limit
    while status(g) != 'io-error':
        if time.monotonic() > end:
            return {}
        g.read(0.05)
    return reasons(lab, g)


def go_on(lab, g, bad):
    if any(name.startswith('full') for name in bad):
        lab.make_room(3)
    if 'far' in bad and lab.far.poll() is not None:
        lab.serve()
    g.qmp('cont')


def nothing_wrong(lab, g):
    said = nursed(lab, g, 'cat /tmp/fio.err; ! test -e /tmp/status || cat /tmp/status /tmp/fio')
    if said.strip():
        raise Failed(f'fio says {said[:800]}')


def nursed(lab, g, command):
    """A command in the guest, which is helped on when it stops meanwhile -> its output."""
    g.count += 1
    start = g.at
    g.type(f'{{ {command}\n}} </dev/null 2>&1; echo "[{g.count}=$?]"')
    end = time.monotonic() + 900
    while not (m := re.compile(rf'^\[{g.count}=(\d+)\]', re.M).search(g.said, start)):
        if status(g) == 'io-error':
            go_on(lab, g, reasons(lab, g))
        if time.monotonic() > end or not g.read(0.1):
            raise Failed(f'no end of {command}: {g.said[-800:]}')
    g.at = m.end()
    if m[1] != '0':
        raise Failed(f'in the guest: {command}: {g.said[start:m.start()][-800:]}')
    return g.said[start:m.start()]


def run_until_quiet(lab, g, quiet=5):
    """Helps it on until it has run for so long without a stop."""
    while True:
        bad = stands(lab, g, quiet)
        if not bad:
            return
        go_on(lab, g, bad)


def saved_state(g, path):
    g.qmp('migrate', uri=f'file:{path}')
    while (s := g.qmp('query-migrate')['status']) not in ('completed', 'failed'):
        time.sleep(0.1)
    if s == 'failed':
        raise Failed(f'the state was not saved: {g.qmp("query-migrate")}')


def hmp(g, line):
    said = g.qmp('human-monitor-command', **{'command-line': line})
    if said.strip():
        raise Failed(f'{line}: {said}')


def play(lab):
    lab.serve()
    lab.fill()
    with lab.start() as g:
        g.login()
        found = {int(size) >> 20: name for name, size in (line.split() for line in g.run('lsblk -bdno NAME,SIZE').splitlines())}
        jobs = ' '.join(f'--name={name} --filename=/dev/{found[SIZE + n]}' for n, name in enumerate(lab.paths))
        g.type(f'((fio --output=/tmp/fio --output-format=json {FIO} {jobs} >/tmp/fio.err 2>&1; echo $? >/tmp/status) &)')
        for n in range(4):  # on the way
            bad = stands(lab, g)
            if not bad:
                raise Failed(f'it was not stopped a {n + 1}. time: {lab.why}')
            print(f'stopped by {bad}', flush=True)
            go_on(lab, g, bad)
        lab.vanish()  # and the server goes
        while 'far' not in (bad := stands(lab, g)):
            if not bad:
                raise Failed('it did not notice that the server is gone')
            go_on(lab, g, bad)
        print(f'stopped by {bad}; saved', flush=True)
        saved_state(g, f'{lab.work}/state')
        g.qmp('quit')
        g.p.wait(60)
    lab.serve()
    with lab.start('-incoming', f'file:{lab.work}/state', errors=False) as g:  # what writes a snapshot back must be able to
        while status(g) == 'inmigrate':
            time.sleep(0.1)
        if status(g) == 'running':
            raise Failed('it runs after it was saved while it stood')
        print(f'in another process: {status(g)}', flush=True)
        g.qmp('cont')
        lab.why = {}
        for _ in range(5):  # until it is full once more: a snapshot of this
            lab.fill()
            if bad := stands(lab, g, 20):
                break
        else:
            raise Failed('it does not fill up any more')
        hmp(g, 'savevm standing')
        print(f'stopped by {bad}; a snapshot', flush=True)
        go_on(lab, g, bad)
        run_until_quiet(lab, g)
        nothing_wrong(lab, g)
        lab.make_room(SMALL)  # going back writes, too
        hmp(g, 'loadvm standing')
        print(f'back: {status(g)}', flush=True)
        g.qmp('cont')
        run_until_quiet(lab, g)
        nursed(lab, g, 'while ! test -e /tmp/status; do sleep 0.2; done')  # by itself: fio 3.33 that is interrupted may hang
        out = nursed(lab, g, 'cat /tmp/fio.err /tmp/fio')
        for job in json.loads(out[out.index('{'):out.rindex('}') + 1])['jobs']:
            print(f'{job["jobname"]}: {job["write"]["io_bytes"] >> 20} MiB written, {job["read"]["io_bytes"] >> 20} read', flush=True)
            if job['error'] or not job['write']['io_bytes'] or not job['read']['io_bytes']:
                raise Failed(f'fio on {job["jobname"]}: {out[:600]}')
        bad = g.run('dmesg | grep -iE "I/O error|failed command|timeout|abort|reset" | grep -iE "nvme|ata[0-9]|scsi|sd[a-z]|vd[a-z]|usb"', fails=True)[1]
        if bad.strip():
            raise Failed(f'the kernel says:\n{bad}')
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')
    lab.far.terminate()
    lab.far.wait()
    for path in [p for p in [*lab.paths.values(), f'{lab.work}/system'] if lab.format(p) == 'qcow2']:
        p = subprocess.run([lab.img, 'check', '-f', 'qcow2', path], capture_output=True, text=True)
        if p.returncode not in (0, 3):
            raise Failed(f'{path}: {p.stdout}{p.stderr}')


def main():
    tools = [os.path.abspath(t) for t in sys.argv[1:4]]
    folder = textguest.images()
    buses = [b for b in (sys.argv[4].split(',') if sys.argv[4:] else ('virtio-blk', 'virtio-scsi', 'ide', 'ahci', 'nvme'))]
    lab = None
    with tempfile.TemporaryDirectory(prefix='disk-errors.', dir='/var/tmp') as work:
        os.makedirs(f'{work}/small')
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={SMALL + SIZE * len(buses)}m', 'tmpfs', f'{work}/small'], capture_output=True).returncode:
            textguest.skip('no right to mount a small file system')
        try:
            lab = Lab(work, tools, buses, folder)
            play(lab)
        except Failed as e:
            sys.exit(f'FAIL: {e}')
        finally:
            if lab and lab.far and lab.far.poll() is None:
                lab.far.kill()
                lab.far.wait()
            subprocess.run(['umount', f'{work}/small'], check=True)
    print(f'ok: {len(buses)} buses')


main()
