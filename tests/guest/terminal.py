#!/usr/bin/env python3
"""terminal.py MENURA - the serial port and the monitor on a terminal: whatever ends the process, the terminal is as it was."""
import os, pty, signal, subprocess, sys, termios, time


def attempt(name, args, end):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    p = subprocess.Popen([sys.argv[1]] + args, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    for _ in range(600):  # raw once the VM is there
        if termios.tcgetattr(slave)[3] != before[3] or p.poll() is not None:
            break
        time.sleep(0.1)
    changed = termios.tcgetattr(slave)[3] != before[3]
    if callable(end):
        end(master)
    elif end:
        p.send_signal(end)
    try:
        p.wait(60)
    except subprocess.TimeoutExpired:
        p.kill()
        print(f'FAIL: {name}: it does not end')
        return 1
    after = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)
    if after != before or not changed:
        print(f'FAIL: {name}: the terminal ' + ('was never raw' if not changed else 'is not as it was'))
        return 1
    print(f'ok: {name}, status {p.returncode}')
    return 0


quiet = ['-accel', 'tcg', '-S', '-nographic', '-nodefaults', '-serial', 'mon:stdio']
bad = sum(attempt(s.name, quiet, s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
bad += attempt('Ctrl-A x', quiet, lambda fd: os.write(fd, b'\x01x'))
bad += attempt('quit', quiet, lambda fd: os.write(fd, b'\x01cquit\r'))
sys.exit(bad != 0)
