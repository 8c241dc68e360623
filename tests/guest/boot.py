#!/usr/bin/env python3
"""boot.py MENURA bios|uefi|run|net|net-uefi - which of several disks, CDs and networks firmware starts: bootindex, -boot order, once, strict
and reboot-timeout; from the network by the cards' own option ROMs (package ipxe-qemu)."""
import os, subprocess, sys, tempfile
import images

program, which = sys.argv[1:]
work = tempfile.TemporaryDirectory()
bad = 0
OVMF = next((f for f in ('/usr/share/ovmf/OVMF.fd', '/usr/share/qemu/OVMF.fd') if os.path.exists(f)), None)


def put(name, data):
    path = os.path.join(work.name, name)
    open(path, 'wb').write(data)
    return path


def drive(name, data):
    return ['-drive', f'if=none,id={name},format=raw,file={put(name + ".img", data)}']


def boot(want, *args):
    """What the guests said, letter by letter, until one ended the program."""
    global bad
    log = os.path.join(work.name, 'said')
    p = subprocess.Popen([program, '-accel', 'tcg', '-m', '128', '-nodefaults', '-display', 'none', '-debugcon', f'file:{log}', '-device', 'isa-debug-exit,iobase=0xf4',
                          *args], stdin=subprocess.DEVNULL)
    try:
        status = p.wait(100)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
        status = 'none: it ran on'
    said = open(log).read() if os.path.exists(log) else ''
    if said != want or status not in (0, 1):
        print(f'FAIL: {" ".join(args)}: said {said!r} (want {want!r}), status {status}')
        bad += 1


def bios():
    v, i = drive('v', images.boot_sector('V')), drive('i', images.boot_sector('I'))
    c, r = drive('c', images.iso('C')), drive('r', images.iso('R', 'reset'))
    disks = lambda a, b: ['-device', f'virtio-blk-pci,drive=v{a}', '-device', f'ide-hd,drive=i,bus=ide.0{b}']
    for machine in ('pc', 'q35'):
        boot('I', '-M', machine, *v, *i, *disks(',bootindex=2', ',bootindex=1'))
        boot('V', '-M', machine, *v, *i, *disks(',bootindex=1', ',bootindex=2'))
        boot('C', '-M', machine, *v, *i, *c, *disks(',bootindex=1', ',bootindex=2'), '-device', 'ide-cd,drive=c,bus=ide.1,bootindex=0')
    boot('V', '-M', 'q35', *v, *i, '-device', 'pcie-root-port,id=rp', '-device', 'virtio-blk-pci,bus=rp,drive=v,bootindex=0', '-device', 'ide-hd,drive=i,bus=ide.0,bootindex=1')
    boot('C', '-M', 'q35', *i, *c, '-device', 'ide-hd,drive=i,bus=ide.0', '-device', 'virtio-scsi-pci', '-device', 'scsi-cd,drive=c,bootindex=0')
    both = [*i, *c, '-device', 'ide-hd,drive=i,bus=ide.0', '-device', 'ide-cd,drive=c,bus=ide.1']
    boot('I', '-boot', 'order=cd', *both)
    boot('C', '-boot', 'order=dc', *both)
    boot('C', '-boot', 'd', *both)
    boot('C', '-boot', 'order=dc,menu=on,splash-time=10', *both)
    boot('RI', '-boot', 'order=c,once=d', *i, *r, '-device', 'ide-hd,drive=i,bus=ide.0', '-device', 'ide-cd,drive=r,bus=ide.1')
    # strict: once one device has a bootindex, those without are not tried; then nothing boots, and the time limit resets the machine
    empty = [*drive('e', bytes(1 << 21)), *c, '-device', 'virtio-blk-pci,drive=e,bootindex=1', '-device', 'ide-cd,drive=c,bus=ide.0']
    boot('', '-boot', 'strict=on,reboot-timeout=100', '-no-reboot', *empty)
    boot('C', '-boot', 'strict=off,reboot-timeout=100', '-no-reboot', *empty)
    boot('I', '-boot', 'strict=on,reboot-timeout=100', '-no-reboot', *i, '-device', 'ide-hd,drive=i,bus=ide.0')
    boot('', '-boot', 'reboot-timeout=100', '-no-reboot')


def uefi():
    if not OVMF:
        print('SKIP: no OVMF.fd (package ovmf)')
        sys.exit(77)
    a, b, g = (drive(x, images.fat(images.efi_app(x.upper()))) for x in 'abg')
    put('g.img', images.gpt(images.fat(images.efi_app('G'))))
    for machine in ('pc', 'q35'):
        fw = ['-M', machine, '-bios', OVMF]
        boot('A', *fw, *a, *b, '-device', 'virtio-blk-pci,drive=a,bootindex=1', '-device', 'ide-hd,drive=b,bus=ide.0,bootindex=2')
        boot('B', *fw, *a, *b, '-device', 'virtio-blk-pci,drive=a,bootindex=2', '-device', 'ide-hd,drive=b,bus=ide.0,bootindex=1')
    boot('G', *fw, *a, *g, '-boot', 'strict=on', '-device', 'pcie-root-port,id=rp', '-device', 'virtio-blk-pci,drive=g,bus=rp,bootindex=1', '-device', 'virtio-blk-pci,drive=a')
    boot('A', *fw, *a, '-device', 'virtio-scsi-pci', '-device', 'scsi-cd,drive=a')
    boot('K', '-M', 'pc', '-bios', OVMF, '-kernel', put('k.efi', images.efi_app('K')))


ROMS = '/usr/lib/ipxe/qemu'


def network(name, data, card, *more):
    """A card on a network that boots the file."""
    put(name, data)
    return ['-netdev', f'user,id=n,tftp={work.name},bootfile={name}', '-device', f'{card},netdev=n' + ''.join(',' + m for m in more)]


def need_roms():
    if not os.path.exists(ROMS + '/efi-virtio.rom'):
        print('SKIP: no option ROMs of network cards (package ipxe-qemu)')
        sys.exit(77)


def net():
    """A boot sector is a network boot program, too: both are put at 7C00h."""
    need_roms()
    v, nbp = drive('v', images.boot_sector('V')), images.boot_sector('N')[:512]
    for machine, card in (('pc', 'e1000'), ('pc', 'virtio-net-pci'), ('pc', 'rtl8139'), ('q35', 'e1000e')):
        boot('N', '-M', machine, *network('nbp', nbp, card, 'bootindex=0'))
    disk = [*v, '-device', 'ide-hd,bus=ide.0,drive=v,bootindex=1']
    boot('V', '-M', 'pc', *network('nbp', nbp, 'e1000', 'bootindex=2'), *disk)
    boot('N', '-M', 'pc', *network('nbp', nbp, 'e1000', 'bootindex=0'), *disk)
    boot('N', '-M', 'pc', '-boot', 'n', *network('nbp', nbp, 'e1000'), *v, '-device', 'ide-hd,bus=ide.0,drive=v')
    boot('V', '-M', 'pc', *network('nbp', nbp, 'e1000'), *v, '-device', 'ide-hd,bus=ide.0,drive=v')
    # from fw_cfg: a card that hides its ROM, and -option-rom; those with a part for EFI are too large for SeaBIOS there
    boot('N', '-M', 'pc', '-boot', 'n', *network('nbp', nbp, 'e1000', 'rombar=0', f'romfile={ROMS}/pxe-e1000.rom'))
    boot('N', '-M', 'pc', '-boot', 'n', *network('nbp', nbp, 'e1000', 'romfile='), '-option-rom', ROMS + '/pxe-e1000.rom')
    boot('', '-M', 'pc', '-boot', 'n,reboot-timeout=100', '-no-reboot', *network('nbp', nbp, 'e1000', 'romfile='))


def net_uefi():
    need_roms()
    if not OVMF:
        print('SKIP: no OVMF.fd (package ovmf)')
        sys.exit(77)
    for machine, card in (('q35', 'e1000e'), ('pc', 'virtio-net-pci')):
        boot('E', '-M', machine, '-bios', OVMF, *network('app.efi', images.efi_app('E'), card, 'bootindex=0'))


def run():
    """`menura run` recognises what it is given."""
    global bad
    env = dict(os.environ, XDG_DATA_HOME=os.path.join(work.name, 'data'))
    cases = [('mbr', images.boot_sector('M'), 'M', []), ('iso', images.iso('I'), 'I', [])]
    if OVMF and os.path.exists('/usr/share/OVMF/OVMF_CODE_4M.fd'):
        cases += [('gpt', images.gpt(images.fat(images.efi_app('G'))), 'G', ['data']), ('app', images.efi_app('A'), 'A', [])]
    else:
        print('skipped: UEFI (package ovmf)')
    for name, data, want, made in cases:
        path, log = put(name + '.img', data), os.path.join(work.name, 'said-' + name)
        p = subprocess.Popen([os.path.join(os.path.dirname(program), 'menura'), 'run', path, '-accel', 'tcg', '-m', '128', '-display', 'none', '-serial', 'none', '-nic', 'none',
                              '-debugcon', f'file:{log}', '-device', 'isa-debug-exit,iobase=0xf4'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
        try:
            said = p.communicate(timeout=200)[1]
        except subprocess.TimeoutExpired:
            p.kill()
            said = p.communicate()[1]
        got = open(log).read() if os.path.exists(log) else ''
        if got != want or (made and not os.listdir(os.path.join(work.name, 'data', 'menura', 'uefi'))):
            print(f'FAIL: run {name}: said {got!r} (want {want!r}); {said.decode()}')
            bad += 1


{'bios': bios, 'uefi': uefi, 'run': run, 'net': net, 'net-uefi': net_uefi}[which]()
print(f'{bad} wrong')
sys.exit(bad != 0)
