#!/usr/bin/env python3
"""disk-load.py MENURA [SECONDS [BUSES [CPUS]]] - fio in Debian's text guest writes and verifies a scratch disk on each bus, SECONDS (30) long,
sixteen requests at a time; then reads it in order and says how fast. QEMU=PROGRAM measures that one's speed in the same way."""
import json, os, re, sys, tempfile
import textguest
from textguest import DISKS, Failed, Guest

VERIFY = '--name=v --rw=randrw --bs=16k --size=48m --time_based --verify=crc32c --verify_backlog=512 --verify_fatal=1'
COMMON = '--direct=1 --ioengine=libaio --iodepth=16 --output-format=json'


def find(g, megabytes):
    """The disk of that size."""
    for line in g.run('lsblk -bdno NAME,SIZE').splitlines():
        name, size = line.split()
        if int(size) == megabytes << 20:
            return name
    raise Failed(f'no disk of {megabytes} MiB:\n' + g.run('lsblk'))


def fio(g, device, options, limit):
    status, out = g.run(f'fio --filename=/dev/{device} {COMMON} {options}', limit, fails=True)
    try:
        job = json.loads(out[out.index('{'):out.rindex('}') + 1])['jobs'][0]
    except ValueError:
        raise Failed(f'fio on {device}: {out[-800:]}')
    if status or job['error']:
        raise Failed(f'fio on {device}: status {status}: {out[:800]}')
    return job


def measure(program, accel, buses, seconds, cpus, folder):
    speed = {}
    with tempfile.TemporaryDirectory() as work:
        args = ['-accel', accel, '-smp', cpus, '-m', '384', '-nic', 'none', *textguest.system_disk(folder, 'virtio-blk'), *textguest.direct(folder)]
        for n, bus in enumerate(buses):
            with open(f'{work}/{bus}', 'wb') as f:
                f.truncate(64 + n << 20)
            args += ['-drive', f'if=none,id=d{n},format=raw,file={work}/{bus}', *DISKS[bus](f'd{n}')]
        with Guest(program, args, 900) as g:
            g.login()
            for n, bus in enumerate(buses):
                device = find(g, 64 + n)
                if seconds:
                    job = fio(g, device, f'{VERIFY} --runtime={seconds}', 20 * seconds + 300)
                    checked = job['read']['io_bytes'] >> 20
                    print(f'{bus}: {seconds} s, {job["write"]["io_bytes"] >> 20} MiB written, {checked} MiB read', flush=True)
                    if not checked or not job['write']['io_bytes']:
                        raise Failed(f'{bus}: fio did nothing')
                seq = fio(g, device, '--name=s --rw=read --bs=256k --size=48m --time_based --runtime=4', 300)
                small = fio(g, device, '--name=r --rw=randread --bs=4k --size=48m --time_based --runtime=4', 300)
                speed[bus] = seq['read']['bw'] / 1024, small['read']['iops']
            bad = g.run('dmesg | grep -iE "I/O error|timeout|failed command|reset|abort|DMA" | grep -iE "nvme|ata[0-9]|scsi|sd[a-z]|vd[a-z]|usb-storage"', fails=True)[1]
            if re.search('I/O error|timeout|failed command|abort', bad):
                raise Failed(f'the kernel says:\n{bad}')
            if g.poweroff():
                raise Failed(f'it ended with {g.p.returncode}')
    return speed


def main():
    program = sys.argv[1]
    seconds = int((sys.argv[2:3] or ['30'])[0])
    folder = textguest.images()
    buses = [b for b in ((sys.argv[3:4] or ['all'])[0].split(',') if sys.argv[3:4] not in ([], ['all']) else DISKS) if textguest.has_bus(program, b)]
    cpus = (sys.argv[4:5] or ['2'])[0]
    try:
        ours = measure(program, 'tcg', buses, seconds, cpus, folder)
        other = os.environ.get('QEMU')
        theirs = measure(other, 'tcg,thread=multi', buses, 0, cpus, folder) if other else {}
    except Failed as e:
        sys.exit(f'FAIL: {e}')
    for bus in buses:
        print(f'{bus}: {ours[bus][0]:.0f} MiB/s in order, {ours[bus][1]:.0f} small reads/s' +
              (f'; QEMU {theirs[bus][0]:.0f} MiB/s, {theirs[bus][1]:.0f}/s' if theirs else ''))
    print(f'ok: {len(buses)} buses')


main()
