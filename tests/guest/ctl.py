#!/usr/bin/env python3
"""ctl.py MENURA - menura ctl and a machine that menura run started: found, asked, typed into, photographed; leftovers go.
The guest is a boot sector that sends each key it gets from the BIOS to COM1."""
import os
import subprocess
import sys
import tempfile
import time

ECHO = bytes.fromhex('ba f803 b03e ee 31c0 cd16 baf803 ee ebf6'.replace(' ', ''))  # ">", then int 16h to COM1 for ever
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
    open(f'{work}/menura/left.{dead.pid}.sock', 'w').close()
    until('the guest does not start', lambda: b'>' in serial())
    if ctl('ls') != f'{vm.pid:<7d} echo.img\n':
        fail('ls says', ctl('ls'))
    if os.listdir(f'{work}/menura') != [f'echo.img.{vm.pid}.sock']:
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
    ctl('qmp', 'quit')
    vm.wait(PATIENCE)
    if ctl('ls') or os.listdir(f'{work}/menura'):
        fail('still there', os.listdir(f'{work}/menura'))
    print('ok')


main()
