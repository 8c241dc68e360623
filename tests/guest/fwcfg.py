#!/usr/bin/env python3
"""fwcfg.py MENURA - what firmware reads from fw_cfg, read by qtest as firmware does: the tables and the script that places them stay of
one piece while devices go on and off between the files. The same against QEMU 10 where it is installed."""
import os, re, select, shutil, struct, subprocess, sys, tempfile

LIMIT = 60
bad = 0


def expect(ok, text):
    global bad
    if not ok:
        print('FAIL: ' + text)
        bad += 1


class Machine:
    """A machine that runs nothing; its ports and memory."""

    def __init__(self, program, *args):
        self.name = program.split('/')[-1] + ' ' + ' '.join(args)
        self.p = subprocess.Popen([program, *(['-accel', 'tcg', '-S'] if os.path.basename(program).startswith('qemu') else ['-accel', 'qtest']), '-display', 'none', '-nodefaults', '-m', '64', *args,
                                   '-qtest', 'stdio', '-qtest-log', 'none'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, text):
        self.p.stdin.write(text.encode() + b'\n')
        self.p.stdin.flush()
        answer = b'IRQ'
        while answer.startswith(b'IRQ'):
            if not select.select([self.p.stdout], [], [], LIMIT)[0]:
                self.end()
                sys.exit(f'FAIL: {self.name}: {text[:60]}: no answer')
            answer = self.p.stdout.readline()
        if not answer.startswith(b'OK'):
            self.end()
            sys.exit(f'FAIL: {self.name}: {text[:60]}: {answer.decode()!r}')
        return answer.decode().split()[-1]

    def config(self, devfn, reg, size, value=None):
        self.ask(f'outl 0xcf8 {1 << 31 | devfn << 8 | reg & 0xfc:#x}')
        port, kind = 0xcfc + (reg & 3), {1: 'b', 2: 'w', 4: 'l'}[size]
        return int(self.ask(f'in{kind} {port:#x}'), 16) if value is None else self.ask(f'out{kind} {port:#x} {value:#x}')

    def item(self, key, length):
        """By DMA: select, read."""
        self.ask(f'write 0x1000 16 0x{struct.pack(">IIQ", key << 16 | 8 | 2, length, 0x2000).hex()}')
        self.ask('outl 0x518 0x00100000')  # 0x1000, big-endian
        expect(self.ask('read 0x1000 4') == '0x00000000', f'{self.name}: the DMA of item {key:#x} failed')
        return bytes.fromhex(self.ask(f'read 0x2000 {length:#x}')[2:]) if length else b''

    def directory(self):
        n = struct.unpack('>I', self.item(0x19, 4))[0]
        rows = self.item(0x19, 4 + 64 * n)[4:]
        entries = [struct.unpack('>IHxx56s', rows[64 * i:64 * i + 64]) for i in range(n)]
        return {name.split(b'\0')[0].decode(): (key, size) for size, key, name in entries}

    def file(self, name):
        """As firmware does: its size from the directory, then that many bytes."""
        have = self.directory()
        return self.item(*have[name]) if name in have else None

    def find(self, vendor, device):
        return next(f for f in range(256) if self.config(f, 0, 4) == device << 16 | vendor)

    def reset(self):
        self.ask('outb 0xcf9 0x06')

    def end(self):
        self.p.kill()
        self.p.wait()


def text(b):
    return b.split(b'\0')[0].decode()


def run_script(who, script, files):
    """Places the files as the script says, and checks each step as a careful firmware would."""
    base, at = {}, 0x7e00000
    for i in range(0, len(script), 128):
        kind, body = struct.unpack('<I', script[i:i + 4])[0], script[i + 4:i + 128]
        name = text(body[:56])
        if kind == 1:
            align, zone = struct.unpack('<IB', body[56:61])
            expect(name not in base and zone in (1, 2) and align and not align & align - 1, f'{who}: allocation of {name}: align {align}, zone {zone}')
            base[name] = at = (at + align - 1) & -align
            at += len(files[name])
        elif kind == 2:
            src, off, size = text(body[56:112]), *struct.unpack('<IB', body[112:117])
            expect(name in base and src in base and off + size <= len(files[name]), f'{who}: pointer at {off:#x} of {name}')
            value = int.from_bytes(files[name][off:off + size], 'little')
            there = bytes(files[src][value:value + 8])
            expect(value + 8 <= len(files[src]) and there[:4].isupper() and value + struct.unpack('<I', there[4:])[0] <= len(files[src]),
                   f'{who}: the pointer at {off:#x} of {name} leads to {value:#x} of {src}: {there!r}')
            files[name][off:off + size] = (value + base[src]).to_bytes(size, 'little')
        elif kind == 3:
            off, start, length = struct.unpack('<III', body[56:68])
            expect(name in base and start <= off < start + length <= len(files[name]), f'{who}: checksum at {off:#x} of {name}')
            files[name][off] = files[name][off] - sum(files[name][start:start + length]) & 0xff
        else:
            expect(kind in (0, 4, 5), f'{who}: command {kind}')
    return base


def tables(program, machine):
    m = Machine(program, '-M', machine, '-device', 'virtio-rng-pci')
    fn = m.find(0x1af4, 0x1005)
    for turn in ('first', 'after a reset'):
        who = f'{m.name}: {turn}'
        m.config(fn, 0x20, 4, 0xc)  # its BAR above 4 GiB, where no firmware of ours would put it
        m.config(fn, 0x24, 4, 0x80)
        m.config(fn, 4, 2, 7)
        script = m.file('etc/table-loader')
        m.config(fn, 4, 2, 0)
        names = {text(script[i + 4:i + 60]) for i in range(0, len(script), 128) if script[i] == 1}
        files = {n: bytearray(m.file(n) or b'') for n in names}
        m.config(fn, 4, 2, 7)
        expect(script == m.file('etc/table-loader'), f'{who}: the script changed')
        base = run_script(who, script, files)
        rsdp, t, at = files['etc/acpi/rsdp'], files['etc/acpi/tables'], base['etc/acpi/tables']
        expect(rsdp[:8] == b'RSD PTR ' and not sum(rsdp[:20]) & 0xff, f'{who}: RSDP {rsdp!r}')
        rsdt = struct.unpack('<I', rsdp[16:20])[0] - at
        expect(t[rsdt:rsdt + 4] == b'RSDT', f'{who}: RSDT')
        n = struct.unpack('<I', t[rsdt + 4:rsdt + 8])[0]
        found = [p - at for p in struct.unpack(f'<{(n - 36) // 4}I', t[rsdt + 36:rsdt + n])]
        for p in found + [rsdt]:
            expect(not sum(t[p:p + struct.unpack('<I', t[p + 4:p + 8])[0]]) & 0xff, f'{who}: the sum of {t[p:p + 4]!r}')
        expect({b'FACP', b'APIC', b'HPET'} <= {bytes(t[p:p + 4]) for p in found}, f'{who}: {[t[p:p + 4] for p in found]}')
        m.reset()
    m.end()


PICTURE = b'\xff\xd8 not much of a picture'.ljust(100)
ORDER = {
    'pc': (['-device', 'ide-hd,drive=a,bus=ide.0,unit=1,bootindex=3', '-device', 'ide-cd,drive=b,bus=ide.1,unit=0,bootindex=1',
            '-device', 'virtio-blk-pci,drive=c,bootindex=0,addr=7.1,multifunction=on', '-device', 'virtio-blk-pci,drive=d,bootindex=9,addr=7.0,multifunction=on',
            '-device', 'virtio-net-pci,netdev=n,bootindex=2,addr=2', '-device', 'e1000,netdev=o,bootindex=6,addr=3', '-device', 'rtl8139,netdev=p,bootindex=4,addr=4'],
           ['/pci@i0cf8/scsi@7,1/disk@0,0', '/pci@i0cf8/ide@1,1/drive@1/disk@0', '/pci@i0cf8/ethernet@2/ethernet-phy@0', '/pci@i0cf8/ide@1,1/drive@0/disk@1',
            '/pci@i0cf8/ethernet@4/ethernet-phy@0', '/pci@i0cf8/ethernet@3/ethernet-phy@0', '/pci@i0cf8/scsi@7/disk@0,0'],
           {'etc/boot-menu-wait': None, 'etc/boot-fail-wait': b'\xff' * 4, 'bootsplash.jpg': None}),
    'q35': (['-device', 'ide-hd,drive=a,bus=ide.2,bootindex=3', '-device', 'ide-cd,drive=b,bus=ide.1,unit=0,bootindex=1',
             '-device', 'pcie-root-port,id=rp,chassis=1,addr=5.1,multifunction=on', '-device', 'virtio-blk-pci,drive=c,bootindex=0,bus=rp',
             '-device', 'nvme,drive=d,serial=s,addr=6,bootindex=8', '-device', 'virtio-scsi-pci,id=s,addr=7', '-device', 'scsi-hd,bus=s.0,drive=e,scsi-id=11,lun=3,bootindex=4', '-boot', 'strict=on,reboot-timeout=1000,menu=on,splash-time=77,splash=PICTURE'],
            ['/pci@i0cf8/pci-bridge@5,1/scsi@0/disk@0,0', '/pci@i0cf8/pci8086,2922@1f,2/drive@1/disk@0', '/pci@i0cf8/pci8086,2922@1f,2/drive@2/disk@0',
             '/pci@i0cf8/scsi@7/channel@0/disk@b,3', '/pci@i0cf8/pci1b36,0010@6/namespace@1,0', 'HALT'],
            {'etc/boot-menu-wait': b'M\0', 'etc/boot-fail-wait': b'\xe8\3\0\0', 'bootsplash.jpg': PICTURE}),
}


def bootorder(program, machine, work):
    """Open Firmware paths as SeaBIOS and OVMF look for them."""
    args, order, files = ORDER[machine]
    disk, picture = os.path.join(work, 'disk'), os.path.join(work, 'picture')
    open(disk, 'wb').write(bytes(1 << 20))
    open(picture, 'wb').write(PICTURE)
    back = sum((['-drive', f'if=none,id={i},file={disk},format=raw,snapshot=on'] for i in 'abcde'), [])
    back += sum((['-netdev', f'hubport,hubid=0,id={i}'] for i in 'nop'), [])
    m = Machine(program, '-M', machine, *back, *(a.replace('PICTURE', picture) for a in args))
    got = (m.file('bootorder') or b'').decode()
    expect(got == '\n'.join(order) + '\0', f'{m.name}: bootorder {got!r}')
    for name, want in files.items():
        got = m.file(name)
        expect(got == want, f'{m.name}: {name}: {got} (want {want})')
    expect(m.item(0xe, 2) == (b'\1\0' if machine == 'q35' else b'\0\0'), f'{m.name}: boot menu')
    m.end()


def main():
    work = tempfile.TemporaryDirectory()
    programs = [sys.argv[1]]
    qemu = shutil.which('qemu-system-x86_64')
    version = re.search(r'version (\d+)', subprocess.run([qemu, '-version'], capture_output=True, text=True).stdout) if qemu else None
    if version and int(version[1]) >= 10:
        programs.append(qemu)
    else:
        print('skipped: the same against QEMU 10: it is not installed')
    for program in programs:
        for machine in ('pc', 'q35'):
            tables(program, machine)
            bootorder(program, machine, work.name)
    print(f'{len(programs)} programs, {bad} wrong')
    sys.exit(bad != 0)


main()
