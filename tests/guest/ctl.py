#!/usr/bin/env python3
"""ctl.py MENURA - menura ctl and a machine that menura run started: found, asked, typed into, photographed; leftovers go.
Its screen is read and waited for, its serial port talked with.
The guest is a boot sector that sends each key it gets from the BIOS to COM1, and what it gets there back in the other case."""
import os
import subprocess
import sys
import tempfile
import time

ECHO = bytes.fromhex('baf803 b03e ee '  # ">" to COM1, then for ever:
                     'b401 cd16 7408 31c0 cd16 baf803 ee '  # a key of int 16h goes to COM1
                     'bafd03 ec a801 74ea baf803 ec 3420 ee ebe1')  # what COM1 gets goes back in the other case
TEXT = 'Hello, World! ~{}[]|\\:;"\'<>?/@#$%^&*()_+-=0189zZ'
PATIENCE = 90


def fail(*what):
    print('FAIL:', *what)
    sys.exit(1)


def main():
    menura = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix='menura-ctl.') as work:
        env = dict(os.environ, XDG_RUNTIME_DIR=work)
        with open(f'{work}/echo.img', 'wb') as f:
            f.write(ECHO.ljust(510, b'\0') + b'\x55\xaa')
            f.truncate(1 << 20)
        vm = subprocess.Popen([menura, 'run', '--snapshot', f'{work}/echo.img', '-accel', 'tcg', '-m', '32', '-display', 'none', '-net', 'none',
                               '-serial', f'file:{work}/serial'], env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            play(menura, work, env, vm)
        finally:
            vm.kill()
            vm.communicate()


def until(what, fn):
    end = time.time() + PATIENCE
    while not fn():
        if time.time() > end:
            fail(what)
        time.sleep(0.1)


def play(menura, work, env, vm):
    def ctl(*args, status=0):
        p = subprocess.run([menura, 'ctl', *args], env=env, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        if p.returncode != status:
            fail(args, 'ends with', p.returncode, p.stdout, p.stderr)
        return p.stdout + p.stderr

    def serial():
        try:
            with open(f'{work}/serial', 'rb') as f:
                return f.read()
        except FileNotFoundError:
            return b''

    until('no socket', lambda: os.path.isdir(f'{work}/menura') and os.listdir(f'{work}/menura'))
    dead = subprocess.Popen(['true'])
    dead.wait()
    for x in ('console', 'sock'):
        open(f'{work}/menura/left.{dead.pid}.{x}', 'w').close()
    until('the guest does not start', lambda: b'>' in serial())
    if ctl('ls') != f'{vm.pid:<7d} echo.img\n':
        fail('ls says', ctl('ls'))
    if sorted(os.listdir(f'{work}/menura')) != [f'echo.img.{vm.pid}.{x}' for x in ('console', 'sock')]:
        fail('leftovers', os.listdir(f'{work}/menura'))
    if '"running": true' not in ctl('qmp', 'query-status') or 'prelaunch' in ctl('qmp', '-n', str(vm.pid), 'query-status'):
        fail('status')
    ctl('type', TEXT.replace('\\', '\\\\') + '\\n')
    until(f'typed, but the guest got {serial()}', lambda: serial().endswith(b'\r'))
    if serial() != b'>' + TEXT.encode() + b'\r':
        fail('typed', TEXT, 'and the guest got', serial())
    ctl('screenshot', '-n', 'echo.img', f'{work}/shot.png')
    with open(f'{work}/shot.png', 'rb') as f:
        if f.read(4) != b'\x89PNG':
            fail('no PNG')
    if 'kvm support' not in ctl('attach', 'info', 'kvm'):
        fail('attach')
    if 'no machine nono' not in ctl('qmp', '-n', 'nono', 'query-status', status=1) or 'nono has not been found' not in ctl('qmp', 'nono', status=1):
        fail('refusals')
    console = subprocess.Popen([menura, 'ctl', 'console'], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    console.stdin.write(b'overHere')
    console.stdin.flush()
    got = console.stdout.read(8)
    if got != b'OVERhERE':
        fail('console', got, serial())
    until('the file does not see what the console sees', lambda: serial().endswith(b'OVERhERE'))
    if ctl('wait-text', 'Booting from +[A-Z]', '30') != 'Booting from H\n' or 'SeaBIOS' not in ctl('text'):
        fail('the screen says', ctl('text'))
    if 'timeout' not in ctl('wait-text', 'never', '0.2', status=1) or 'not X,Y' not in ctl('hash', '1,2,3', status=1):
        fail('waiting for nothing')
    part = ctl('hash', '0,0,90,16').strip()
    if len(part) != 64 or part == ctl('hash').strip():
        fail('hashes', part)
    ctl('wait-hash', part, '0,0,90,16', '30')
    ctl('qmp', 'quit')
    console.stdin.close()
    if console.stdout.read() or console.wait(PATIENCE):
        fail('the console does not end with the machine')
    vm.wait(PATIENCE)
    if ctl('ls') or os.listdir(f'{work}/menura'):
        fail('still there', os.listdir(f'{work}/menura'))
    print('ok')


main()
