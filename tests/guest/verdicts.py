#!/usr/bin/env python3
"""verdicts.py MENURA - menura run --test: each verdict of a boot sector that earns it, as exit status, JSON and JUnit."""
import json
import os
import subprocess
import sys
import tempfile
import xml.dom.minidom

SAY = bytes.fromhex('fc 31c0 8ed8 be{:s} ba f803 ac 84c0 7403 ee ebf8'.format('407c').replace(' ', ''))  # cld; text at 7c40 to COM1
ENDS = {
    'exit0': bytes.fromhex('baf400 b000 ee f4'.replace(' ', '')),          # isa-debug-exit: 0
    'exit5': bytes.fromhex('baf400 b005 ee f4'.replace(' ', '')),
    'dead': bytes.fromhex('fa f4 ebfd'.replace(' ', '')),                  # cli; hlt
    'spin': bytes.fromhex('fb ebfe'.replace(' ', '')),
    'fault': bytes.fromhex('fa 0f0116 607c 0f20c0 0c01 0f22c0 ea00000800'.replace(' ', '')),  # no descriptor tables, then a far jump
}
CASES = [  # text, end, arguments, verdict, status
    ('all well\n', 'exit0', [], 'pass', 0),
    ('all well\n', 'exit5', [], 'fail', 72),
    ('the answer is 42\n', 'spin', ['--expect', r'answer is \d\d'], 'pass', 0),
    ('the answer is none\n', 'exit0', ['--expect', r'answer is \d+'], 'fail', 72),
    ('Kernel panic - not syncing: <no> init\n', 'spin', [], 'panic', 64),
    ('', 'fault', [], 'triple-fault', 66),
    ('zzz\n', 'dead', [], 'hang', 68),
    ('busy\n', 'spin', ['--timeout', '6'], 'timeout', 74),
]


def image(path, text, end):
    code = SAY + ENDS[end]
    assert len(code) <= 0x40
    sector = code.ljust(0x40, b'\0') + text.encode() + b'\0'
    with open(path, 'wb') as f:
        f.write(sector.ljust(510, b'\0') + b'\x55\xaa')
        f.truncate(1 << 20)


def check(ok, *what):
    if not ok:
        print('FAIL:', *what)
        sys.exit(1)


def run(menura, work, text, end, args, verdict, status):
    image(f'{work}/i.img', text, end)
    cmd = [menura, 'run', '--test', '--snapshot', '--timeout', '120', '--json', f'{work}/r.json', '--junit', f'{work}/r.xml', *args, f'{work}/i.img',
           '-accel', 'tcg', '-m', '32', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-net', 'none']
    p = subprocess.run(cmd, capture_output=True, text=True, errors='replace', timeout=200, stdin=subprocess.DEVNULL)
    check(p.returncode == status, verdict, 'wants status', status, 'not', p.returncode, p.stdout[-500:], p.stderr[-1500:])
    with open(f'{work}/r.json') as f:
        r = json.load(f)
    check(r['verdict'] == verdict and r['status'] == status, r)
    check(text.strip() in r['console'] and text.strip() in p.stdout, 'console', r)
    check(('autopsy' in r) == (verdict in ('panic', 'triple-fault', 'hang', 'timeout')), 'autopsy', r)
    suite = xml.dom.minidom.parse(f'{work}/r.xml').documentElement
    check(suite.getAttribute('failures') == ('0' if status == 0 else '1') and suite.getAttribute('errors') == '0', 'JUnit')
    print('ok', verdict, status, r['seconds'])


def main():
    menura = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix='menura-verdicts.') as work:
        for c in CASES:
            run(menura, work, *c)
        p = subprocess.run([menura, 'run', '--test', '--expect', '(', f'{work}/i.img'], capture_output=True, text=True)
        check(p.returncode == 1 and '--expect (' in p.stderr, p.stderr)
        p = subprocess.run([menura, 'run', '--json', 'x', f'{work}/i.img'], capture_output=True, text=True)
        check(p.returncode == 1 and 'go with --test' in p.stderr, p.stderr)
        p = subprocess.run([menura, 'run', '--test', f'{work}/i.img', '-device', 'nonsense'], capture_output=True, text=True)
        check(p.returncode == 1 and 'not a valid device' in p.stderr, p.stderr)


main()
