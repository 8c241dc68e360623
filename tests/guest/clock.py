#!/usr/bin/env python3
"""clock.py MENURA [SECONDS [CPUS]] - time in Debian's text guest: its clock against the host's over SECONDS (600) idle and as long under load, less than a
thousandth apart; what the idle guest costs the host, less than 3 % of a core; after a stop of ten seconds the guest's clock lacks them and
the chip has them with -rtc clock=host and rt, lacks them with clock=vm."""
import os, sys, time
import textguest
from textguest import Failed, Guest

TICKS = os.sysconf('SC_CLK_TCK')


def spent(pid):
    """CPU seconds of a process."""
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def offset(g, clock='date +%s.%N'):
    """Guest's time minus the host's by the quickest of some answers, and how far off that may be."""
    best = None
    for _ in range(15):
        t0 = time.time()
        guest = float(g.run(clock).split()[-1])
        t1 = time.time()
        if not best or t1 - t0 < best[1]:
            best = guest - (t0 + t1) / 2, t1 - t0
    return best[0], best[1] / 2


def drift(g, seconds, name):
    a, doubt_a = offset(g)
    start = time.monotonic()
    time.sleep(seconds)
    b, doubt_b = offset(g)
    rate = (b - a) / (time.monotonic() - start)
    doubt = (doubt_a + doubt_b) / seconds
    print(f'{name}: {(b - a) * 1000:.1f} ms in {seconds} s: {rate * 100:.4f} % (+- {doubt * 100:.4f})', flush=True)
    if abs(rate) - doubt > 0.001:
        raise Failed(f'the clock drifts while {name}')


def machine(program, folder, cpus, *more):
    return Guest(program, ['-accel', 'tcg', '-smp', cpus, '-m', '512', *textguest.system_disk(folder, 'virtio-blk'), *textguest.direct(folder), *more], 900)


def pace(program, folder, seconds, cpus):
    with machine(program, folder, cpus) as g:
        g.login()
        g.run('systemctl is-system-running --wait', fails=True)
        time.sleep(20)
        a, t = spent(g.p.pid), time.monotonic()
        time.sleep(60)
        used = (spent(g.p.pid) - a) / (time.monotonic() - t)
        print(f'idle, {cpus} vCPU: {used * 100:.2f} % of a core', flush=True)
        drift(g, seconds, 'idle')
        g.run(f'stress-ng --cpu {cpus} --timeout {10 * seconds}s >/dev/null 2>&1 &')
        drift(g, seconds, 'under load')
        if used > 0.03:
            raise Failed(f'an idle guest takes {used * 100:.2f} % of a core')


def stopped(program, folder, clock):
    chip = '(r=$(cat /sys/class/rtc/rtc0/since_epoch); while s=$(cat /sys/class/rtc/rtc0/since_epoch); [ $s = $r ]; do sleep 0.01; done; echo $s)'
    with machine(program, folder, '1', '-nic', 'none', '-rtc', f'base=utc,clock={clock}') as g:
        g.login()
        system, doubt = offset(g)
        rtc = float(g.run(chip)) - time.time()
        g.qmp('stop')
        time.sleep(10)
        g.qmp('cont')
        system2, doubt2 = offset(g)
        rtc2 = float(g.run(chip)) - time.time()
    print(f'clock={clock}: after ten seconds stopped the guest\'s clock went {system2 - system:+.2f} s, the chip {rtc2 - rtc:+.2f} s', flush=True)
    want = -10 if clock == 'vm' else 0
    if abs(system2 - system + 10) > 1 + doubt + doubt2 or abs(rtc2 - rtc - want) > 2.5:
        raise Failed(f'clock={clock}: the chip should have gone {want} s, the system\'s clock -10')


def main():
    program = sys.argv[1]
    seconds, cpus = int((sys.argv[2:3] or ['600'])[0]), (sys.argv[3:4] or ['1'])[0]
    folder = textguest.images()
    try:
        for clock in ('host', 'vm', 'rt'):
            stopped(program, folder, clock)
        pace(program, folder, seconds, cpus)
    except Failed as e:
        sys.exit(f'FAIL: {e}')
    print('ok')


main()
