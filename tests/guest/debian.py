#!/usr/bin/env python3
"""debian.py MENURA MACHINE[,uefi] BUSES CPUS [MEMORY [TCG-OPTIONS]] - Debian 12 from its own disk on each of the buses (all, or names with
commas) with each of the numbers of vCPUs (1,2): logins on tty1 and ttyS0, the guest's own checks with MEMORY MiB, a download over
loopback, ssh through hostfwd, a chardev through guestfwd, power-off. SHOTS=FOLDER keeps the screenshots, VERBOSE=1 shows the checks."""
import hashlib, os, shutil, subprocess, sys, tempfile, time
import textguest
from textguest import DISKS, Failed, Guest, OVMF

CARDS = ('e1000', 'rtl8139', 'virtio-net-pci')  # in turn


def firmware(kind, folder, work):
    if kind != 'uefi':
        return []
    vars = os.path.join(work, 'vars.fd')
    with open(OVMF[1], 'rb') as f, open(vars, 'wb') as t:
        t.write(f.read())
    return ['-drive', f'if=pflash,format=raw,readonly=on,file={OVMF[0]}', '-drive', f'if=pflash,format=raw,file={vars}']


def network(g, port, ssh, key, work, n):
    """A download, ssh, guestfwd."""
    want = hashlib.sha256(open(f'{work}/www/file', 'rb').read()).hexdigest()
    got = g.run(f'curl -s -o /tmp/file http://10.0.2.2:{port}/file && sha256sum </tmp/file')
    if want not in got:
        raise Failed(f'the download is {got}, not {want}')
    g.run(f'mkdir -p /root/.ssh && echo "{open(key + ".pub").read().strip()}" >/root/.ssh/authorized_keys')
    p = subprocess.run(['ssh', '-i', key, '-p', str(ssh), '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR',
                        '-o', 'ConnectTimeout=120', 'root@127.0.0.1', 'sha256sum; hostname'], stdin=open(f'{work}/www/file', 'rb'), capture_output=True, text=True, timeout=240)
    if want not in p.stdout or 'text' not in p.stdout:
        raise Failed(f'ssh: {p.stdout}{p.stderr}')
    g.run(f'echo through-the-wall-{n} >/dev/tcp/10.0.2.100/9')
    for _ in range(300):
        if f'through-the-wall-{n}\n' in open(f'{work}/guestfwd').read():
            return
        time.sleep(0.1)
    raise Failed('guestfwd brought nothing')


def cell(program, folder, work, port, machine, kind, bus, cpus, memory, tcg, n):
    card, ssh = CARDS[n % len(CARDS)], textguest.free_port()
    args = ['-accel', 'tcg' + (',' + tcg if tcg else ''), '-M', machine, '-smp', str(cpus), '-m', str(memory), *firmware(kind, folder, work),
            *textguest.system_disk(folder, bus, kind), '-device', f'{card},netdev=n',
            '-netdev', f'user,id=n,hostfwd=tcp:127.0.0.1:{ssh}-:22,guestfwd=tcp:10.0.2.100:9-file:{work}/guestfwd']
    start = time.monotonic()
    with Guest(program, args, 600) as g:
        g.login()
        ready = time.monotonic() - start
        if 'text login: root (automatic login)' not in g.said:
            raise Failed('no login on ttyS0')
        out = g.run(f'guest-check cpus={cpus} memory={memory} disks=1 nics=1 firmware={"efi" if kind == "uefi" else "bios"}', fails=True)
        if 'CHECK end ok' not in out[1]:
            raise Failed('guest-check:\n' + '\n'.join(x for x in out[1].splitlines() if ' fail ' in x or x.startswith('WARN')))
        network(g, port, ssh, f'{work}/key', work, n)
        shots = os.environ.get('SHOTS')
        for _ in range(100):  # a getty that starts last is slower than the serial one
            text = g.screen(shots and os.path.abspath(f'{shots}/{machine}-{kind}-{bus}-{cpus}.png'))
            if 'text login:' in text:
                break
            time.sleep(0.3)
        else:
            raise Failed(f'no login on tty1:\n{text}')
        status = g.poweroff()
    if status:
        raise Failed(f'it ended with {status}')
    warns = sum(x.startswith('WARN') for x in out[1].splitlines())
    print(f'ok: {machine} {kind} {bus} {cpus} vCPU {card} {memory} MiB: ready after {ready:.0f} s, {time.monotonic() - start:.0f} s in all, {warns} warnings', flush=True)
    return out[1]


def main():
    program, machine, buses, cpus = sys.argv[1:5]
    machine, _, kind = machine.partition(',')
    kind = kind or 'bios'
    memory, tcg = int((sys.argv[5:6] or ['512'])[0]), ''.join(sys.argv[6:7])
    if not shutil.which('ssh'):
        textguest.skip('no ssh (package openssh-client)')
    folder = textguest.images()
    if kind == 'uefi' and not os.path.exists(OVMF[0]):
        textguest.skip('no OVMF_CODE_4M.fd (package ovmf)')
    buses = [b for b in DISKS if not (b == 'ide' and machine == 'q35')] if buses == 'all' else buses.split(',')
    bad = n = 0
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(f'{work}/www')
        with open(f'{work}/www/file', 'wb') as f:
            f.write(os.urandom(5_000_000))
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', f'{work}/key'], check=True)
        port = textguest.serve(f'{work}/www')
        for bus in buses:
            if not textguest.has_bus(program, bus):
                print(f'left out: {bus}: this build has no such bus')
                continue
            for c in cpus.split(','):
                try:
                    out = cell(program, folder, work, port, machine, kind, bus, int(c), memory, tcg, n)
                    if os.environ.get('VERBOSE'):
                        print(out)
                except (Failed, OSError) as e:
                    print(f'FAIL: {machine} {kind} {bus} {c} vCPU: {e}', flush=True)
                    bad += 1
                n += 1
    print(f'{n} machines, {bad} wrong')
    sys.exit(bad != 0)


main()
