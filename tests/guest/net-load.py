#!/usr/bin/env python3
"""net-load.py MENURA [SECONDS [CARDS [CPUS]]] - iperf3 both ways between the host and Debian's text guest over a user network on each card,
SECONDS (10) each way; no packet may arrive with a wrong checksum or be counted as broken. QEMU=PROGRAM measures that one too."""
import json, os, re, shutil, subprocess, sys
import textguest
from textguest import Failed, Guest

CARDS = ('e1000', 'e1000e', 'rtl8139', 'virtio-net-pci')


def iperf(port, seconds, more):
    """Mbit/s that arrived."""
    p = subprocess.run(['iperf3', '-c', '127.0.0.1', '-p', str(port), '-t', str(seconds), '-J', '--connect-timeout', '60000', *more], capture_output=True, text=True,
                       timeout=20 * seconds + 200)
    try:
        said = json.loads(p.stdout)
        return said['end']['sum_received']['bits_per_second'] / 1e6
    except (ValueError, KeyError):
        raise Failed(f'iperf3: {p.stdout[-600:]}{p.stderr}')


def check_counters(g, card, nic):
    """Errors that the card's driver and the protocols counted."""
    counts = g.run('nstat -az') + g.run(f'ethtool -S {nic}', fails=True)[1] + g.run(f'cd /sys/class/net/{nic}/statistics; for f in *errors; do echo $f $(cat $f); done')
    for name, n in re.findall(r'^\s*(\S*(?:Csum|csum|crc|Errors|errors)\S*?):?\s+(\d+)', counts, re.M):
        if int(n) and 'good' not in name and not re.match(r'(Icmp|Icmp6|Ip6?)(Out|In)(Errors|Dest)', name):
            raise Failed(f'{card}: {name} is {n}')


def measure(program, accel, cards, seconds, cpus, folder):
    speed = {}
    ports = [textguest.free_port() for _ in cards]
    args = ['-accel', accel, '-smp', cpus, '-m', '512', *textguest.system_disk(folder, 'virtio-blk'), *textguest.direct(folder)]
    for n, card in enumerate(cards):
        args += ['-netdev', f'user,id=n{n},net=10.{n + 1}.0.0/24,hostfwd=tcp:127.0.0.1:{ports[n]}-:5201', '-device', f'{card},netdev=n{n},mac=52:54:00:00:00:0{n}']
    with Guest(program, args, 900) as g:
        g.login()
        g.run('iperf3 -s -D; until ss -ltn | grep -q :5201; do sleep 0.1; done')
        for n, card in enumerate(cards):
            nic = g.run(f'basename $(dirname $(grep -l 52:54:00:00:00:0{n} /sys/class/net/*/address))').strip()
            g.run(f'for i in $(seq 120); do ip -4 addr show {nic} | grep -q "inet 10" && break; sleep 1; done; ip -4 addr show {nic} | grep "inet 10"')
            speed[card] = iperf(ports[n], seconds, []), iperf(ports[n], seconds, ['-R'])
            check_counters(g, card, nic)
            print(f'{os.path.basename(program)} {card}: {speed[card][0]:.0f} Mbit/s in, {speed[card][1]:.0f} out', flush=True)
        bad = g.run('dmesg | grep -iE "tx unit hang|transmit queue|hardware error|NETDEV WATCHDOG"', fails=True)[1]
        if bad.strip():
            raise Failed(f'the kernel says:\n{bad}')
        if g.poweroff():
            raise Failed(f'it ended with {g.p.returncode}')
    return speed


def main():
    program = sys.argv[1]
    seconds = int((sys.argv[2:3] or ['10'])[0])
    if not shutil.which('iperf3'):
        textguest.skip('no iperf3')
    folder = textguest.images()
    cards = [c for c in (CARDS if sys.argv[3:4] in ([], ['all']) else sys.argv[3].split(',')) if textguest.known(program, c)]
    cpus = (sys.argv[4:5] or ['2'])[0]
    try:
        measure(program, 'tcg', cards, seconds, cpus, folder)
        if os.environ.get('QEMU'):
            measure(os.environ['QEMU'], 'tcg,thread=multi', cards, seconds, cpus, folder)
    except Failed as e:
        sys.exit(f'FAIL: {e}')
    print(f'ok: {len(cards)} cards')


main()
