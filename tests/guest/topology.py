#!/usr/bin/env python3
"""topology.py MENURA - what CPUID says of sockets, dies, cores and threads, read by a boot sector; and the same in the monitor's words.
Expected are the rules of SDM vol. 2A (leaves 4, B, 1F) and APM vol. 3 (8000001D, 8000001E), as QEMU 10 answers them too."""
import json, os, struct, subprocess, sys, tempfile

# for each pair (leaf, sub-leaf) from 7c50h on, up to a leaf of ones: CPUID, its four registers to port e9h; then 0 to port f4h
CODE = bytes.fromhex(
    '31c08ed88ed0bc0070be507c66ad6683f8ff74266689c566ad6689c16689e8560fa2e81e006689d8e818006689c8e8120066'
    '89d0e80c005eebd2baf400b000eef4ebf7bf0400e6e966c1e8084f75f7c3')
program = sys.argv[1]
bad = 0


def ask(cpu, smp, leaves):
    with tempfile.TemporaryDirectory() as work:
        disk, said = os.path.join(work, 'disk'), os.path.join(work, 'said')
        pairs = b''.join(struct.pack('<II', *x) for x in leaves) + struct.pack('<i', -1)
        open(disk, 'wb').write((CODE + pairs).ljust(510, b'\0') + b'\x55\xaa' + bytes(1 << 20))
        subprocess.run([program, '-accel', 'tcg', '-nodefaults', '-display', 'none', '-cpu', cpu, '-smp', smp, '-m', '64', '-drive', f'if=ide,format=raw,file={disk}',
                        '-debugcon', f'file:{said}', '-device', 'isa-debug-exit,iobase=0xf4'], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=100)
        out = open(said, 'rb').read()[-16 * len(leaves):]
        return dict(zip(leaves, struct.iter_unpack('<4I', out)))


def check(cpu, smp, want):
    """want: {(leaf, sub): ((mask, value) of a, b, c, d)}, None: any"""
    global bad
    got = ask(cpu, smp, list(want))
    for leaf, row in want.items():
        for name, rule, value in zip('abcd', row, got.get(leaf, (0, 0, 0, 0))):
            if rule is not None and value & rule[0] != rule[1]:
                print(f'FAIL: -cpu {cpu} -smp {smp}: CPUID {leaf[0]:x}.{leaf[1]} e{name}x = {value:08x}, want {rule[1]:08x} in {rule[0]:08x}')
                bad += 1


def is_(v):
    return 0xffffffff, v


SIX = 'sockets=2,cores=3,threads=2'  # six of each socket, eight ids
levels = lambda leaf, *rows: {(leaf, i): (is_(s), is_(n), is_(t << 8 | i), is_(0)) for i, (s, n, t) in enumerate(rows)}
count = lambda n, htt: {(1, 0): (None, (0xff0000, n << 16), None, (1 << 28, htt << 28))}
check('Skylake-Client', '1', {**count(0, 0), **levels(0xb, (0, 1, 1), (0, 1, 2), (0, 0, 0)), (0x80000008, 0): (None, None, is_(0), None)})
check('Skylake-Client', SIX, {**count(6, 1), **levels(0xb, (1, 2, 1), (3, 6, 2), (0, 0, 0)), (4, 0): (is_(0x0c004121), None, None, None),
                              (4, 3): (is_(0x0c01c163), None, None, None), (0x80000008, 0): (None, None, is_(0x3005), None)})
check('EPYC', SIX, {**count(6, 1), (4, 0): (is_(0),) * 4, (0x80000001, 0): (None, None, (2, 2), None), (0x8000001d, 0): (is_(0x4121), None, None, None),
                    (0x8000001d, 3): (is_(0x1c163), None, None, None), (0x8000001e, 0): (is_(0), is_(0x100), is_(0), is_(0))})
check('EPYC', 'dies=2,cores=3,threads=2', {**count(12, 1), **levels(0xb, (1, 2, 1), (4, 12, 2)), (0x8000001d, 3): (is_(0x1c163), None, None, None),
                                           (0x80000008, 0): (None, None, is_(0x400b), None)})
check('Skylake-Client', 'dies=2,modules=2,cores=2', {**levels(0xb, (0, 1, 1), (3, 8, 2)), **levels(0x1f, (0, 1, 1), (1, 2, 2), (2, 4, 3), (3, 8, 5), (0, 0, 0))})

p = subprocess.Popen([program, '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S', '-smp', '3,sockets=2,cores=3,maxcpus=6', '-m', '64', '-qmp', 'stdio',
                      *[x for n in 'ab' for x in ('-object', f'memory-backend-ram,id={n},size=32M', '-numa', f'node,memdev={n}')]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
lines = '\n'.join(json.dumps({'execute': c}) for c in ('qmp_capabilities', 'query-cpus-fast', 'query-hotpluggable-cpus', 'quit'))
_, _, fast, places, *_ = [json.loads(x) for x in p.communicate(lines)[0].splitlines() if 'timestamp' not in x]
where = [c['props'] for c in fast['return']]
if where != [{'socket-id': 0, 'core-id': n, 'thread-id': 0, 'node-id': 0} for n in range(3)]:
    print('FAIL: query-cpus-fast:', where)
    bad += 1
where = [(c['props']['socket-id'], c['props']['core-id'], c['props']['node-id'], 'qom-path' in c) for c in places['return']]
if where != [(1, n, 1, False) for n in (2, 1, 0)] + [(0, n, 0, True) for n in (2, 1, 0)]:
    print('FAIL: query-hotpluggable-cpus:', where)
    bad += 1
print(f'{bad} wrong')
sys.exit(bad != 0)
