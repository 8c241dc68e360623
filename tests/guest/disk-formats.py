#!/usr/bin/env python3
"""disk-formats.py MENURA MENURA-IMG MENURA-NBD MENURA-STORAGE [SECONDS [ROWS]] - fio --verify in Debian's text guest on an image of each format that is written to, all
at once, while the monitor gives each disk its story: snapshots made and committed (the active layer too), streamed, taken inside qcow2, mirrors to other images, to
NBD servers, in both modes, pivoted. No mismatch; in the end the images (where the disks are by then) are whole and hold what the guest reads, by our tools and by QEMU's
where they are installed. SECONDS (60): how long fio writes at least; it goes on until the last story is told."""
import hashlib, json, os, shutil, subprocess, sys, tempfile, time
import textguest
from textguest import Failed, Guest

MIB, SIZE = 1 << 20, 48
FIO = f'--direct=1 --ioengine=libaio --iodepth=8 --rw=randrw --bsrange=4k-64k --size={SIZE}m --time_based --verify=crc32c --verify_backlog=128 --verify_fatal=1'
SECRET = ['secret,id=pw,data=magpie']
# the name of a way to keep a disk -> its driver, options of `create`, options of the open node
KINDS = {
    'raw': ('raw', '', ''), 'qcow2': ('qcow2', '', ''), 'qcow2-l2': ('qcow2', 'extended_l2=on,cluster_size=128k', ''), 'qcow2-lazy': ('qcow2', 'lazy_refcounts=on,cluster_size=4k', ''),
    'qcow2-data': ('qcow2', 'data_file={}.data', ''), 'qcow2-luks': ('qcow2', 'encrypt.format=luks,encrypt.key-secret=pw,encrypt.iter-time=10', 'encrypt.format=luks,encrypt.key-secret=pw'),
    'luks': ('luks', 'key-secret=pw,iter-time=10', 'key-secret=pw'), 'vmdk': ('vmdk', '', ''), 'vdi': ('vdi', '', ''), 'vpc': ('vpc', 'force_size=on', ''),
    'vhdx': ('vhdx', 'block_size=1M,log_size=1M', ''), 'qed': ('qed', '', ''), 'parallels': ('parallels', '', ''),
}
CHECKS = ('qcow2', 'vmdk', 'vdi', 'vhdx', 'qed', 'parallels')


def run(*args, ok=(0,)):
    p = subprocess.run(args, capture_output=True, text=True, timeout=300)
    if p.returncode not in ok:
        raise Failed(f'{" ".join(args)}: status {p.returncode}: {p.stdout}{p.stderr}')
    return p.stdout


class Image:
    def __init__(self, lab, name, kind, backing=None):
        self.path, (self.driver, options, self.options) = f'{lab.work}/{name}', KINDS[kind]
        self.name, self.kind, self.served = name, kind, False
        run(lab.img, 'create', '-q', '--object', SECRET[0], '-f', self.driver, *(['-o', options.format(self.path)] if options else []), self.path, f'{SIZE}M')

    def spec(self, **more):
        """As options of a node."""
        o = ([f'node-name={self.name}'] if not more else []) + [self.options] * bool(self.options)
        return ','.join([f'driver={self.driver}', f'file.driver=file,file.filename={self.path}', *o])

    def node(self):
        tree = {'driver': self.driver, 'node-name': self.name, 'file': {'driver': 'file', 'filename': self.path}}
        if self.kind == 'luks':
            tree['key-secret'] = 'pw'
        elif self.options:
            tree['encrypt'] = {'format': 'luks', 'key-secret': 'pw'}
        return tree


class Lab:
    def __init__(self, work, tools):
        self.work, (self.program, self.img, self.nbd, self.storage), self.servers, self.jobs, self.told = work, tools, [], 0, []

    def end(self):
        for p in self.servers:
            p.terminate()
            if p.wait(60):
                raise Failed(f'a server ended with {p.returncode}')
        self.servers = []

    # ---- what stories are made of: each yields what it waits for ----
    def job(self, command, ready=False, **arguments):
        """Runs it to its end; ready: it waits for us to say when."""
        self.jobs += 1
        name = f'job{self.jobs}'
        self.g.qmp(command, **{'job-id': name, 'auto-dismiss': False, **{k.replace('_', '-'): v for k, v in arguments.items()}})

        def status(*wanted):
            [j] = [j for j in self.g.qmp('query-jobs') if j['id'] == name]
            if j['status'] == 'concluded' and j.get('error'):
                raise Failed(f'{command} {arguments}: {j["error"]}')
            return j['status'] in wanted
        if ready:
            yield lambda: status('ready')
            yield from self.moment()
            self.g.qmp('job-complete', id=name)
        yield lambda: status('concluded')
        self.g.qmp('job-dismiss', id=name)

    def moment(self, seconds=1.0):
        """fio goes on meanwhile."""
        end = time.monotonic() + seconds
        yield lambda: time.monotonic() > end

    def layer(self, node, name):
        yield from self.moment()
        self.g.qmp('blockdev-snapshot-sync', **{'node-name': node, 'snapshot-file': f'{self.work}/{name}', 'snapshot-node-name': name, 'format': 'qcow2'})

    def committed(self, disk):
        """Three layers, the middle one goes down, then the active one, into the image."""
        for n in range(3):
            yield from self.layer(disk.name if n == 0 else f'{disk.name}.{n - 1}', f'{disk.name}.{n}')
        yield from self.job('block-commit', device=f'{disk.name}.2', top_node=f'{disk.name}.1', base_node=f'{disk.name}.0')
        yield from self.job('block-commit', device=f'{disk.name}.2', base_node=disk.name, ready=True)
        return disk

    def streamed(self, disk):
        """A layer that takes all over from the image below."""
        yield from self.layer(disk.name, f'{disk.name}.0')
        yield from self.job('block-stream', device=f'{disk.name}.0')
        top = object.__new__(Image)
        top.path, top.driver, top.options, top.name, top.kind, top.served = f'{self.work}/{disk.name}.0', 'qcow2', '', f'{disk.name}.0', 'qcow2', False
        return top

    def inside(self, disk):
        """Snapshots in the image."""
        for n in range(3):
            yield from self.moment()
            self.g.qmp('blockdev-snapshot-internal-sync', device=disk.name, name=f's{n}')
        yield from self.moment()
        self.g.qmp('blockdev-snapshot-delete-internal-sync', device=disk.name, name='s1')
        yield from self.moment()
        self.g.qmp('blockdev-snapshot-internal-sync', device=disk.name, name='s3')
        yield from self.committed(disk)
        return disk

    def mirrored(self, disk, kind=None, mode='background'):
        to = Image(self, f'{disk.name}-to', kind or disk.kind)
        self.g.qmp('blockdev-add', **to.node())
        yield from self.job('blockdev-mirror', device=disk.name, target=to.name, sync='full', copy_mode=mode, ready=True)
        self.g.qmp('blockdev-del', **{'node-name': disk.name})
        return to

    def blocking(self, disk):
        return (yield from self.mirrored(disk, mode='write-blocking'))

    def away(self, disk, daemon=False):
        """To an NBD server."""
        to, sock = Image(self, f'{disk.name}-far', disk.kind), f'{self.work}/{disk.name}.sock'
        if daemon:
            self.servers.append(subprocess.Popen([self.storage, '--object', SECRET[0], '--blockdev', to.spec(), '--nbd-server', f'addr.type=unix,addr.path={sock}',
                                                  '--export', f'nbd,id=e,node-name={to.name},name=far,writable=on']))
        else:
            self.servers.append(subprocess.Popen([self.nbd, '-t', '-k', sock, '-x', 'far', '--object', SECRET[0], '--image-opts', to.spec(x=0)]))
        yield lambda: os.path.exists(sock)
        self.g.qmp('blockdev-add', driver='nbd', server={'type': 'unix', 'path': sock}, export='far', **{'node-name': to.name})
        yield from self.job('blockdev-mirror', device=disk.name, target=to.name, sync='full', ready=True)
        self.g.qmp('blockdev-del', **{'node-name': disk.name})
        to.served = True
        return to

    def away_daemon(self, disk):
        return (yield from self.away(disk, True))

    def to_and_fro(self, disk):
        """To an NBD server, which then goes on in another format at home."""
        far = yield from self.away(disk)
        far.kind = 'qcow2'
        return (yield from self.mirrored(far, 'qcow2'))


STORIES = {  # disk -> its kind, the story
    'raw': ('raw', Lab.committed), 'raw-far': ('raw', Lab.away), 'qcow2': ('qcow2', Lab.inside), 'qcow2-st': ('qcow2', Lab.streamed), 'qcow2-l2': ('qcow2-l2', Lab.mirrored),
    'qcow2-lazy': ('qcow2-lazy', Lab.committed), 'qcow2-data': ('qcow2-data', Lab.blocking), 'qcow2-luks': ('qcow2-luks', Lab.mirrored), 'luks': ('luks', Lab.away_daemon),
    'vmdk': ('vmdk', Lab.away), 'vdi': ('vdi', Lab.mirrored), 'vpc': ('vpc', Lab.committed), 'vhdx': ('vhdx', Lab.blocking), 'qed': ('qed', Lab.away_daemon),
    'parallels': ('parallels', Lab.mirrored), 'vhdx-c': ('vhdx', Lab.committed), 'vdi-far': ('vdi', Lab.to_and_fro),
}


def tell(lab, stories, fio_ended):
    """All stories at once -> where each disk is in the end."""
    running, ends = {name: [story, None, time.monotonic()] for name, story in stories.items()}, {}
    limit = time.monotonic() + 900
    while running:
        for name, row in list(running.items()):
            try:
                while row[1] is None or row[1]():
                    row[1] = next(row[0])
            except StopIteration as e:
                ends[name] = e.value
                print(f'{name}: told in {time.monotonic() - row[2]:.0f} s, it is {e.value.kind} now', flush=True)
                del running[name]
            except Failed as e:
                raise Failed(f'{name}: {e}') from e
        if time.monotonic() > limit:
            raise Failed(f'these do not end: {", ".join(running)}; {lab.g.qmp("query-jobs")}')
        time.sleep(0.05)
    if fio_ended():
        raise Failed('fio ended before the stories did')
    return ends


def compare(lab, ends, sums):
    """The images by each tool: whole, and what the guest reads."""
    peer = shutil.which('qemu-img')
    for name, image in ends.items():
        for tool in (lab.img, peer) if peer else (lab.img,):
            if image.driver in CHECKS:
                run(tool, 'check', '--object', SECRET[0], '--image-opts', image.spec(x=0), ok=(0, 3))
            run(tool, 'convert', '--object', SECRET[0], '--image-opts', image.spec(x=0), '-O', 'raw', f'{lab.work}/out')
            with open(f'{lab.work}/out', 'rb') as f:
                if hashlib.sha256(f.read()).hexdigest() != sums[name]:
                    raise Failed(f'{name}: {os.path.basename(tool)} does not read from {image.path} what the guest reads')
    return ['menura-img'] + ['qemu-img'] * bool(peer)


def play(lab, folder, seconds, rows):
    disks = {name: Image(lab, name, STORIES[name][0]) for name in rows}
    args = ['-accel', 'tcg', '-smp', '2', '-m', '768', '-nic', 'none', '-object', SECRET[0], *textguest.system_disk(folder, 'virtio-blk'), *textguest.direct(folder)]
    for name, disk in disks.items():
        args += ['-blockdev', disk.spec(), '-device', f'virtio-blk-pci,drive={name},serial={name},num-queues=1']
    with Guest(lab.program, args, 900) as g:
        lab.g = g
        g.login()
        where = {s: d for d, s in (line.split() for line in g.run('lsblk -dno NAME,SERIAL').splitlines() if len(line.split()) == 2)}
        jobs = ' '.join(f'--name={name} --filename=/dev/{where[name]}' for name in disks)
        g.run(f'((fio --output=/tmp/fio --output-format=json {FIO} --runtime=36000 {jobs} >/tmp/fio.err 2>&1; echo $? >/tmp/status) &)')
        begin = time.monotonic()
        g.run(f'(for i in $(seq 300); do test $(cat /sys/block/vd*/stat | awk "\\$5 > 20" | wc -l) -ge {len(disks)} && exit 0; sleep 0.2; done; exit 1)', 120)
        ends = tell(lab, {name: STORIES[name][1](lab, disk) for name, disk in disks.items()}, lambda: g.run('test -e /tmp/status', fails=True)[0] == 0)
        while (left := seconds - (time.monotonic() - begin)) > 0:
            g.read(left)
        g.run('pkill -INT -x fio; while ! test -e /tmp/status; do sleep 0.2; done', 600)
        out = g.run('cat /tmp/fio.err /tmp/fio')
        for job in json.loads(out[out.index('{'):out.rindex('}') + 1])['jobs']:
            wrote, read = job['write']['io_bytes'] / MIB, job['read']['io_bytes'] / MIB
            print(f'{job["jobname"]}: {wrote:.0f} MiB written, {read:.0f} read', flush=True)
            if job['error'] or wrote < 1 or read < 1:
                raise Failed(f'fio on {job["jobname"]}: error {job["error"]}: {out[:600]}')
        bad = g.run('dmesg | grep -iE "I/O error|vd[a-z].*(error|reset|timeout)"', fails=True)[1]
        if bad.strip():
            raise Failed(f'the kernel says:\n{bad}')
        sums = {}
        for name in disks:
            sums[name] = g.run(f'dd if=/dev/{where[name]} bs=1M iflag=direct status=none | sha256sum').split()[0]
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')
    lab.end()
    tools = compare(lab, ends, sums)
    print(f'ok: {len(disks)} disks, fio for {time.monotonic() - begin:.0f} s, images read by {" and ".join(tools)}')


def main():
    tools, (seconds, rows) = [os.path.abspath(t) for t in sys.argv[1:5]], (sys.argv[5:] + ['60', 'all'][len(sys.argv) - 5:])[:2]
    folder = textguest.images()
    lab = None
    try:
        with tempfile.TemporaryDirectory(prefix='disk-formats.', dir='/var/tmp') as work:
            lab = Lab(work, tools)
            try:
                play(lab, folder, int(seconds), list(STORIES) if rows == 'all' else rows.split(','))
            finally:
                for p in lab.servers:
                    p.kill()
    except Failed as e:
        sys.exit(f'FAIL: {e}')


main()
