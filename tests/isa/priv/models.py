"""models.py - a CPU model that several engines can be, and what this host's KVM is known to do otherwise."""
import os, re, subprocess

LIMIT = 240  # seconds; some hosts' KVM emulates kernel code


def kvm_usable(program):
    """None, or why not."""
    if 'kvm' not in subprocess.run([program, '-accel', 'help'], capture_output=True, text=True).stdout:
        return 'built without the kvm accelerator'
    return None if os.access('/dev/kvm', os.R_OK | os.W_OK) else '/dev/kvm cannot be opened'


def refusal(program, accel, model):
    args = [program, '-accel', accel, '-cpu', model, '-nodefaults', '-display', 'none', '-S', '-monitor', 'stdio']
    return subprocess.run(args, input='quit\n', capture_output=True, text=True, timeout=LIMIT).stderr


def common(program, accels):
    """What KVM here and the software CPU can both be."""
    model = 'menura64-v1'
    fixed = None
    for accel in (a for a in accels if a.startswith('kvm')):
        lacks = re.search(r'lacks (.*)', refusal(program, accel, model + ',enforce'))
        if lacks:
            model += ''.join(f',-{name}' for name in lacks[1].split(', '))
        fixed = re.search(r'runs at (\d+) Hz', refusal(program, accel, model + ',tsc-frequency=1234567890'))  # else it scales
    return f'{model},enforce,tsc-frequency={fixed[1] if fixed else 1234567890}'


def emulates(program, kernel):
    """Does the KVM of this host emulate kernel code? Measured, and said when menura chooses for itself."""
    p = subprocess.run([program, 'run', kernel, '-no-reboot', '-nodefaults', '-display', 'none', '-device', 'isa-debug-exit'], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=LIMIT)
    return 'KVM emulates kernel code' in p.stdout + p.stderr


def differs(program, kernel, name):
    """The second columns of ../kvm-differs.txt that hold here for the kernel of this name."""
    here = os.path.dirname(os.path.abspath(__file__))
    rows = [line.split('|') for line in open(f'{here}/../kvm-differs.txt') if line.startswith(name + '|')]
    where = {'any'} | ({'emulates'} if any(r[2] == 'emulates' for r in rows) and emulates(program, kernel) else set())
    return {r[1] for r in rows if r[2] in where}
