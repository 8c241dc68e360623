#!/usr/bin/env python3
"""snapshots-load.py MENURA [MACHINE[,uefi] [ROUNDS [TCG-OPTIONS]]] - a snapshot of Debian's text guest in the middle of fio --verify on every disk bus
and iperf3 both ways on every card; ROUNDS (10) times back, some of them in a fresh process after kill -9. Each time fio goes on on each disk, open TCP
connections get a reset, a fresh iperf3 on each card and a login by ssh work; after the last one fio ends by itself and has verified all. With uefi the
variables are one of the disks, and one made after the snapshot is gone."""
import json, os, shutil, subprocess, sys, tempfile, time
import textguest
from textguest import DISKS, OVMF, Failed, Guest

CARDS = ('e1000', 'e1000e', 'rtl8139', 'virtio-net-pci')
FIO = '--direct=1 --ioengine=libaio --iodepth=8 --rw=randrw --bs=16k --size=24m --time_based --verify=crc32c --verify_backlog=256 --verify_fatal=1'
AUTOPSY = """dmesg | tail -n 5; ldd /usr/sbin/sshd | grep -o '/[^ ]*' | xargs md5sum /usr/sbin/sshd >/tmp/a; echo 3 >/proc/sys/vm/drop_caches
ldd /usr/sbin/sshd | grep -o '/[^ ]*' | xargs md5sum /usr/sbin/sshd | diff /tmp/a - && echo 'the same from memory as from disk'; debsums -s openssh-server libc6 2>&1
cat /tmp/a; /usr/sbin/sshd -t; echo sshd: $?"""
VARIABLE = '/sys/firmware/efi/efivars/After-12345678-1234-1234-1234-123456789abc'


class Lab:
    """The machine, its files and what the host runs beside it."""

    def __init__(self, program, machine, tcg, folder, work):
        self.program, self.folder, self.work, self.port = program, folder, work, textguest.serve(work)
        self.machine, _, kind = machine.partition(',')
        self.kind, self.accel = kind or 'bios', 'tcg' + (',' + tcg if tcg else '')
        self.seconds = 360 if 'jit=off' in tcg else 90  # of the guest, that fio writes: an interpreted ssh takes a minute on a busy host
        self.buses = [b for b in DISKS if not (b == 'ide' and self.machine == 'q35')]
        self.ports = {p: textguest.free_port() for n in range(len(CARDS)) for p in (5201 + n, 5301 + n, 5401 + n)}  # in, out, fresh
        self.ssh, self.clients = textguest.free_port(), []
        subprocess.run(['cp', '--sparse=always', f'{folder}/text-{self.kind}.img', f'{work}/system'], check=True)
        if self.kind == 'uefi':
            shutil.copy(OVMF[1], f'{work}/vars')
        for n, bus in enumerate(self.buses):
            with open(f'{work}/{bus}', 'wb') as f:
                f.truncate(32 + n << 20)
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', f'{work}/key'], check=True)

    def start(self, *more):
        args = ['-accel', self.accel, '-M', self.machine, '-smp', '2', '-m', '512', '-snapdir', f'{self.work}/snaps',
                '-drive', f'if=none,id=system,format=raw,file={self.work}/system', *DISKS['virtio-blk']('system', ',bootindex=0')]
        if self.kind == 'uefi':
            args += ['-drive', f'if=pflash,format=raw,readonly=on,file={OVMF[0]}', '-drive', f'if=pflash,format=raw,file={self.work}/vars']
        for n, bus in enumerate(self.buses):
            args += ['-drive', f'if=none,id=d{n},format=raw,file={self.work}/{bus}', *DISKS[bus](f'd{n}')]
        for n, card in enumerate(CARDS):
            rules = [(self.ports[p], p) for p in self.ports if p % 100 == n + 1] + ([(self.ssh, 22)] if n == 0 else [])
            args += ['-netdev', f'user,id=n{n},net=10.{n + 1}.0.0/24' + ''.join(f',hostfwd=tcp:127.0.0.1:{a}-:{b}' for a, b in rules),
                     '-device', f'{card},netdev=n{n},mac=52:54:00:00:00:0{n}']
        return Guest(self.program, args + list(more), 900)

    def client(self, port, *more):
        return subprocess.Popen(['iperf3', '-c', '127.0.0.1', '-p', str(self.ports[port]), '--connect-timeout', '60000', *more],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def load(self, g):
        """fio on every disk, iperf3 both ways on every card, a connection of the guest's own."""
        sizes = {int(size): name for name, size in (line.split() for line in g.run('lsblk -bdno NAME,SIZE').splitlines())}
        self.disks = {bus: sizes[32 + n << 20] for n, bus in enumerate(self.buses)}
        for n in range(len(CARDS)):
            nic = g.run(f'basename $(dirname $(grep -l 52:54:00:00:00:0{n} /sys/class/net/*/address))').strip()
            g.run(f'for i in $(seq 120); do ip -4 addr show {nic} | grep -q "inet 10" && break; sleep 1; done; ip -4 addr show {nic} | grep "inet 10"')
            g.run(f'iperf3 -s -D -p {5201 + n}; iperf3 -s -D -p {5301 + n}; until ss -ltn | grep -q :{5301 + n}; do sleep 0.1; done')
        g.run(f'mkdir -p /root/.ssh && echo "{open(f"{self.work}/key.pub").read().strip()}" >/root/.ssh/authorized_keys')
        jobs = ' '.join(f'--name={bus} --filename=/dev/{name}' for bus, name in self.disks.items())
        g.run(f'((fio --output=/tmp/fio --output-format=json {FIO} --runtime={self.seconds} {jobs} >/tmp/fio.err 2>&1; echo $? >/tmp/fio.status) &)')
        g.run(f'((exec 3<>/dev/tcp/10.1.0.2/{self.port}; (while sleep 0.3; do echo -n x >&3; done) & cat <&3 >/dev/null; kill $!) >/tmp/open 2>&1 &)')
        self.clients = [self.client(p + n, '-b', '20M', '-t', '3600', *more) for n in range(len(CARDS)) for p, more in ((5201, []), (5301, ['-R']))]

    def progress(self, g, what):
        """fio goes on on each disk."""
        def done():
            status, out = g.run(' && '.join(f'cut -d" " -f1-40 /sys/block/{d}/stat' for d in self.disks.values()), fails=True)
            return [(int(f[0]), int(f[4])) for f in map(str.split, out.splitlines())]
        begin, end = done(), time.monotonic() + 300
        while not all(a[0] > b[0] + 8 and a[1] > b[1] + 8 for a, b in zip(done(), begin)):
            if time.monotonic() > end:
                raise Failed(f'{what}: fio does not go on: {dict(zip(self.buses, zip(begin, done())))}')
            time.sleep(0.5)
        said = g.run('cat /tmp/fio.err; ! test -e /tmp/fio.status || cat /tmp/fio.status /tmp/fio')
        if said.strip():
            raise Failed(f'{what}: fio says {said}')

    def wire(self, g, what):
        """Old connections are reset, new ones work."""
        for c in self.clients:
            try:
                said = c.communicate(timeout=60)[0]
            except subprocess.TimeoutExpired:
                raise Failed(f'{what}: an iperf3 of before does not notice')
            if c.returncode == 0:
                raise Failed(f'{what}: an iperf3 of before ended well: {said[-300:]}')
        self.clients = []
        begin, tries = time.monotonic(), 0
        while True:  # a guest that has just gone back may refuse one
            tries += 1
            p = subprocess.run(['ssh', '-i', f'{self.work}/key', '-p', str(self.ssh), '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR',
                                'root@127.0.0.1', 'echo through; for i in $(seq 60); do test -s /tmp/open && break; sleep 0.5; done; cat /tmp/open'], capture_output=True, text=True, timeout=300)
            if 'through' in p.stdout or time.monotonic() - begin > 60:
                break
        if 'through' not in p.stdout or 'reset by peer' not in p.stdout:
            raise Failed(f'{what}: ssh brings {p.stdout}{p.stderr}; {g.run(AUTOPSY, fails=True)[1]}')
        ssh = time.monotonic() - begin
        for n, card in enumerate(CARDS):
            g.run(f'iperf3 -s -D -1 -p {5401 + n}; until ss -ltn | grep -q :{5401 + n}; do sleep 0.1; done')
            said = self.client(5401 + n, '-t', '1', '-J').communicate(timeout=300)[0]
            if not json.loads(said)['end'].get('sum_received', {}).get('bytes'):
                raise Failed(f'{what}: {card}: iperf3 got nothing: {said[-400:]}')
        return f'ssh {ssh:.1f} s ({tries} tries), then a second of iperf3 on each of {len(CARDS)} cards {time.monotonic() - begin - ssh:.1f} s'

    def verified(self, g):
        """fio ends: each disk was written, read back and right."""
        g.run('while ! test -e /tmp/fio.status; do sleep 1; done', 3000)
        out = g.run('cat /tmp/fio.err /tmp/fio.status; cat /tmp/fio')
        jobs = json.loads(out[out.index('{'):])['jobs']
        for job in jobs:
            print(f'  {job["jobname"]}: {job["write"]["io_bytes"] >> 20} MiB written, {job["read"]["io_bytes"] >> 20} MiB read, error {job["error"]}')
            if job['error'] or not job['read']['io_bytes'] or not job['write']['io_bytes']:
                raise Failed(f'fio: {out[:300]}')
        if len(jobs) != len(self.buses):
            raise Failed(f'fio: {len(jobs)} jobs')


def hmp(g, line):
    said = g.qmp('human-monitor-command', **{'command-line': line})
    if said.strip():
        raise Failed(f'{line}: {said}')


def back(lab, g, n):
    """Once more to the snapshot -> the machine, another one every fourth time."""
    begin = time.monotonic()
    if n % 4 == 3:
        g.__exit__()
        g = lab.start('-loadvm', 'mid')
    else:
        hmp(g, 'loadvm mid')
    took, what = time.monotonic() - begin, f'load {n}'
    if lab.kind == 'uefi' and g.run(f'ls {VARIABLE}', fails=True)[0] == 0:
        raise Failed(f'{what}: a variable of later is there')
    if lab.kind == 'uefi':
        g.run(rf"printf '\7\0\0\0x' >{VARIABLE}")
    lab.progress(g, what)
    print(f'{what}{" by a new process" if n % 4 == 3 else ""}: {took:.2f} s; {lab.wire(g, what)}', flush=True)
    lab.progress(g, what)
    return g


def play(lab, rounds):
    g = lab.start()
    try:
        g.login()
        lab.load(g)
        lab.progress(g, 'before the snapshot')
        if lab.kind == 'uefi':
            g.run('mountpoint -q /sys/firmware/efi/efivars')
        begin = time.monotonic()
        hmp(g, 'savevm mid')
        print(f'savevm in the middle of it: {time.monotonic() - begin:.2f} s', flush=True)
        lab.progress(g, 'after the snapshot')
        if any(c.poll() is not None for c in lab.clients):
            raise Failed('an iperf3 ended at the snapshot')
        for n in range(rounds):
            g = back(lab, g, n)
        lab.verified(g)
        bad = g.run('dmesg | grep -iE "I/O error|failed command|tx unit hang|hardware error|NETDEV WATCHDOG|Call Trace"', fails=True)[1]
        if bad.strip():
            raise Failed(f'the kernel says:\n{bad}')
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')
    finally:
        for c in lab.clients:
            c.kill()
        g.__exit__()


def main():
    program, machine, rounds, tcg = (sys.argv[1:] + ['pc', '10', ''][len(sys.argv) - 2:])[:4]
    for tool in ('iperf3', 'ssh'):
        if not shutil.which(tool):
            textguest.skip(f'no {tool}')
    folder = textguest.images()
    try:
        with tempfile.TemporaryDirectory(prefix='snapshots.') as work:
            play(Lab(program, machine, tcg, folder, work), int(rounds))
    except Failed as e:
        sys.exit(f'FAIL: {e}')
    print(f'ok: {machine}')


main()
