#!/usr/bin/env python3
"""kill.py MENURA [ROUNDS [SECONDS [FROM]]] - the emulator is killed (SIGKILL) while Debian's text guest writes to a raw and a qcow2 disk on each bus, each block
followed by fsync: all that the guest was told is on the disk must be in the images, and the qcow2 ones whole. The guest starts each
round from one saved state, so a round takes seconds. FROM: `state`, a file, with fresh images; `folder` or `inside`, a snapshot of the machine (in a folder; in
qcow2 images, then there are no raw ones), loaded onto the images as the last kill left them, and fio --verify goes on in it on two more disks."""
import json, os, random, re, shutil, signal, struct, subprocess, sys, tempfile, time
import textguest
from textguest import DISKS, Failed, Guest

BLOCK, BLOCKS = 4096, 4096
FIO = '--direct=1 --ioengine=libaio --iodepth=8 --rw=randrw --bs=16k --size=12m --time_based --runtime=36000 --verify=crc32c --verify_backlog=64 --verify_fatal=1'
WRITER = r'''
import os, sys, threading
def write(name, disk):
    fd = os.open("/dev/" + disk, os.O_WRONLY)
    n = 0
    while True:
        n += 1
        os.pwrite(fd, n.to_bytes(8, "little") * 512, n * 1031 % 4096 * 4096)
        os.fsync(fd)
        os.write(1, b"W %s %d\n" % (name.encode(), n))
for a in sys.argv[1:]:
    threading.Thread(target=write, args=a.split("="), daemon=True).start()
threading.Event().wait()
'''


def disks(program, work, place):
    """(name, file, format, size in MiB) -> arguments"""
    rows, args = [], []
    for n, bus in enumerate(b for b in [*DISKS, 'fio'] if b == 'fio' or textguest.has_bus(program, b)):
        for m, kind in enumerate(('raw', 'qcow2')):
            if (place == 'state' and bus == 'fio') or (place == 'inside' and kind == 'raw' and bus != 'fio'):
                continue
            kind, name = 'qcow2' if place == 'inside' else kind, f'{bus}-{kind}'
            rows.append((name, f'{work}/{name}', kind, 16 + 2 * n + m))
            args += ['-drive', f'if=none,id={name},format={kind},file={work}/{name}', *DISKS['virtio-blk' if bus == 'fio' else bus](name)]
    return rows, args


def fresh(img, rows):
    for name, path, kind, size in rows:
        if os.path.exists(path):
            os.unlink(path)
        subprocess.run([img, 'create', '-q', '-f', kind, path, f'{size}M'], check=True)


def verify(img, rows, told, work):
    """Each block the guest was told of is there; what came after the last one told may be."""
    for name, path, kind, size in rows:
        raw = path
        if kind == 'qcow2':
            p = subprocess.run([img, 'check', path], capture_output=True, text=True)
            if p.returncode not in (0, 3):  # 3: leaked clusters, which lose nothing
                raise Failed(f'{name}: check: {p.stdout}{p.stderr}')
            raw = f'{work}/raw'
            subprocess.run([img, 'convert', '-f', 'qcow2', '-O', 'raw', path, raw], check=True)
        data = open(raw, 'rb').read()
        last = told.get(name, 0)
        for n in range(max(1, last - BLOCKS + 2), last + 1):
            at = n * 1031 % 4096 * BLOCK
            got = data[at:at + BLOCK]
            if got != struct.pack('<Q', n) * 512 and got != struct.pack('<Q', n + BLOCKS) * 512:
                raise Failed(f'{name}: block {n} of {last} that were flushed holds {got[:16].hex()}')


def killed(g, rows, names, seconds):
    """The writers begin, the process ends -> the last block of each disk that the guest was told of."""
    g.type(f'python3 /root/w.py {names}')
    for name, *_ in rows:  # every writer has begun
        g.wait(rf'W {name} \d+\n')
        g.at = 0
    end = time.monotonic() + random.uniform(0.2, seconds)
    while time.monotonic() < end:
        g.read(max(0, end - time.monotonic()))
    g.p.send_signal(signal.SIGKILL)
    g.p.wait()
    while g.read(1):
        pass
    told = {}
    for name, n in re.findall(r'^W (\S+) (\d+)\n', g.said, re.M):
        told[name] = max(told.get(name, 0), int(n))
    return told


def runs(g):
    for _ in range(600):
        if g.qmp('query-status')['running']:
            return
        time.sleep(0.2)
    raise Failed(f'it does not go on: {g.qmp("query-status")}')


def save(g, place, work):
    if place != 'state':
        said = g.qmp('human-monitor-command', **{'command-line': 'savevm then'})
        if said.strip():
            raise Failed(f'savevm: {said}')
        return
    g.qmp('migrate', uri=f'file:{work}/state')
    while (s := g.qmp('query-migrate')['status']) not in ('completed', 'failed'):
        time.sleep(0.2)
    if s == 'failed':
        raise Failed(f'the state was not saved: {g.qmp("query-migrate")}')


def fio_begins(g, found, rows):
    jobs = ' '.join(f'--name={name} --filename=/dev/{found[size]}' for name, _, _, size in rows)
    g.run(f'((fio --output=/tmp/fio --output-format=json {FIO} {jobs} >/tmp/fio.err 2>&1; echo $? >/tmp/status) &)')
    g.run('sleep 3; ! test -e /tmp/status')


def fio_ends(g):
    g.run('pkill -INT -x fio; while ! test -e /tmp/status; do sleep 0.2; done', 600)
    out = g.run('cat /tmp/fio.err /tmp/fio')
    for job in json.loads(out[out.index('{'):out.rindex('}') + 1])['jobs']:
        print(f'{job["jobname"]}: {job["write"]["io_bytes"] >> 20} MiB written, {job["read"]["io_bytes"] >> 20} read')
        if job['error'] or not job['write']['io_bytes'] or not job['read']['io_bytes']:
            raise Failed(f'fio: {out[:600]}')


def play(program, img, folder, work, rounds, seconds, place):
    total = {}
    rows, more = disks(program, work, place)
    beside = [r for r in rows if r[0].startswith('fio-')]
    written = [r for r in rows if r not in beside]
    args = ['-accel', 'tcg', '-smp', '2', '-m', '512', '-nic', 'none', *textguest.direct(folder), *(['-snapdir', f'{work}/snaps'] if place == 'folder' else []),
            '-drive', f'if=none,id=system,format=qcow2,file={work}/system', *DISKS['virtio-blk']('system'), *more]
    subprocess.run([img, 'create', '-q', '-f', 'qcow2', '-b', f'{folder}/text-bios.img', '-F', 'raw', f'{work}/system'], check=True)
    fresh(img, rows)
    with Guest(program, args, 900) as g:
        g.login()
        g.run(f"cat >/root/w.py <<'W'\n{WRITER}\nW\n")
        found = {int(s) >> 20: d for d, s in (line.split() for line in g.run('lsblk -bdno NAME,SIZE').splitlines())}
        names = ' '.join(f'{name}={found[size]}' for name, _, _, size in written)
        g.run('sync')
        if beside:
            fio_begins(g, found, beside)
        save(g, place, work)
        if beside:
            g.run('sleep 1; ! test -e /tmp/status')
        g.qmp('quit')
        g.p.wait(60)
    if place == 'state':
        shutil.copy(f'{work}/system', f'{work}/system-then')
    begin = ['-incoming', f'file:{work}/state'] if place == 'state' else ['-loadvm', 'then']
    for r in range(rounds):
        if place == 'state':
            fresh(img, rows)
            shutil.copy(f'{work}/system-then', f'{work}/system')
        with Guest(program, [*args, *begin], 300) as g:
            runs(g)
            if beside:
                g.run('sleep 1; ! test -e /tmp/status')
            told = killed(g, written, names, seconds)
        verify(img, rows, told, work)
        for name in told:
            total[name] = total.get(name, 0) + told[name]
        print(f'round {r + 1}: {sum(told.values())} flushed blocks, all there', flush=True)
    if beside:  # once more, to its end
        with Guest(program, [*args, *begin], 300) as g:
            runs(g)
            g.run('sleep 3')
            fio_ends(g)
            if g.poweroff():
                raise Failed(f'it ended with {g.p.returncode}')
        verify(img, rows, {}, work)
    print('ok:', ', '.join(f'{name} {total[name]}' for name in total))


def main():
    program = sys.argv[1]
    rounds, seconds, place = (sys.argv[2:] + ['8', '8', 'state'][len(sys.argv) - 2:])[:3]
    img = os.path.join(os.path.dirname(program), '../tools/img/menura-img')
    if not os.path.exists(img):
        img = shutil.which('menura-img') or shutil.which('qemu-img') or textguest.skip('no menura-img')
    folder = textguest.images()
    with tempfile.TemporaryDirectory(dir='/var/tmp') as work:
        play(program, img, folder, work, int(rounds), float(seconds), place)


try:
    main()
except Failed as e:
    sys.exit(f'FAIL: {e}')
