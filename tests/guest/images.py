"""images.py - the smallest things that boot, made of bytes: each writes one letter to the debug console (port 0xe9), then does `end`."""
import struct, zlib

CODE = {  # how a guest ends, as code for 16, 32 and 64 bits alike
    'reset': b'\xb0\xfe\xe6\x64',              # mov al, 0xfe; out 0x64, al: the keyboard controller pulls reset
    'exit': b'\xb0\x00\xe6\xf4',               # mov al, 0; out 0xf4, al: isa-debug-exit
}
SECTOR = 512


def say(letter, end):
    return b'\xb0' + letter.encode() + b'\xe6\xe9' + CODE[end] + b'\xf4\xeb\xfd'  # mov al, letter; out 0xe9, al; ..; hlt; jmp back


def boot_sector(letter, end='exit'):
    return say(letter, end).ljust(510, b'\0') + b'\x55\xaa' + bytes(4095 * SECTOR)


def iso(letter, end='exit'):
    """ISO 9660 with an El Torito entry without emulation, and not a file in it."""
    both = lambda n, v: v.to_bytes(n, 'little') + v.to_bytes(n, 'big')
    s = lambda b: b.ljust(2048, b'\0')
    root = bytes([34, 0]) + both(4, 21) + both(4, 2048) + bytes(7) + b'\2\0\0' + both(2, 1) + b'\1\0'
    primary = (b'\1CD001\1\0' + bytes(64) + bytes(8) + both(4, 22) + bytes(32) + both(2, 1) + both(2, 1) + both(2, 2048)).ljust(156, b'\0') + root
    check = b'\1\0\0\0' + bytes(24) + b'\0\0\x55\xaa'
    total = -sum(struct.unpack('<16H', check)) & 0xffff
    check = check[:28] + struct.pack('<H', total) + check[30:]
    entry = struct.pack('<BBHBBHI', 0x88, 0, 0, 0, 0, 4, 20)
    return (bytes(16 * 2048) + s(primary) + s(b'\0CD001\1EL TORITO SPECIFICATION'.ljust(0x47, b'\0') + struct.pack('<I', 19)) + s(b'\xffCD001\1') +
            s(check + entry) + s(say(letter, end)) + s(root))


def efi_app(letter, end='exit'):
    """A PE32+ of one section (UEFI application, x64)."""
    coff = struct.pack('<HHIIIHH', 0x8664, 1, 0, 0, 0, 240, 0x22)
    optional = struct.pack('<HBBIIIII', 0x20b, 1, 0, 512, 0, 0, 0x1000, 0x1000) + struct.pack('<QII', 0, 0x1000, 512) + bytes(16) + \
        struct.pack('<IIIHH', 0x2000, 512, 0, 10, 0) + struct.pack('<4Q', 0x1000, 0x1000, 0, 0) + struct.pack('<II', 0, 16) + bytes(128)
    section = b'.text\0\0\0' + struct.pack('<IIIIIIHHI', 512, 0x1000, 512, 512, 0, 0, 0, 0, 0x60000020)
    head = b'MZ' + bytes(58) + struct.pack('<I', 64) + b'PE\0\0' + coff + optional + section
    return head.ljust(512, b'\0') + say(letter, end).ljust(512, b'\0')


def fat(app):
    """A FAT12 volume of 1.44 MB with /EFI/BOOT/BOOTX64.EFI; three clusters of 512 bytes and those of the file."""
    n = -(-len(app) // SECTOR)
    entry = lambda name, attr, at, size=0: name.ljust(11).encode() + bytes([attr]) + bytes(14) + struct.pack('<HI', at, size)
    chain = [0xff0, 0xfff, 0xfff, 0xfff] + list(range(5, 4 + n)) + [0xfff]
    chain += [0] * (len(chain) & 1)
    table = b''.join(((b << 12) | a).to_bytes(3, 'little') for a, b in zip(chain[::2], chain[1::2])).ljust(9 * SECTOR, b'\0')
    boot = (b'\xeb\x3c\x90MENURA  ' + struct.pack('<HBHBHHBHHHII', 512, 1, 1, 2, 224, 2880, 0xf0, 9, 18, 2, 0, 0) + b'\0\0\x29\1\2\3\4' + b'TEST'.ljust(11) +
            b'FAT12   ').ljust(510, b'\0') + b'\x55\xaa'
    folder = lambda me, up, *rows: (entry('.', 16, me) + entry('..', 16, up) + b''.join(rows)).ljust(SECTOR, b'\0')
    root = entry('EFI', 16, 2).ljust(14 * SECTOR, b'\0')
    data = folder(2, 0, entry('BOOT', 16, 3)) + folder(3, 2, entry('BOOTX64 EFI', 32, 4, len(app))) + app
    return (boot + table * 2 + root + data).ljust(2880 * SECTOR, b'\0')


def gpt(volume, kind='c12a7328-f81f-11d2-ba4b-00a0c93ec93b'):
    """A disk with a GUID partition table and one partition, an EFI system partition unless kind says otherwise."""
    import uuid
    sectors = len(volume) // SECTOR + 2048 + 34
    last = sectors - 34
    row = uuid.UUID(kind).bytes_le + uuid.UUID(int=1).bytes_le + struct.pack('<QQQ', 2048, 2047 + len(volume) // SECTOR, 0) + 'esp'.encode('utf-16le').ljust(72, b'\0')
    table = row.ljust(128 * 128, b'\0')

    def head(me, other, at):
        h = b'EFI PART\0\0\1\0' + struct.pack('<IIIQQQQ', 92, 0, 0, me, other, 34, last) + uuid.UUID(int=2).bytes_le + struct.pack('<QIII', at, 128, 128, zlib.crc32(table))
        return (h[:16] + struct.pack('<I', zlib.crc32(h)) + h[20:]).ljust(SECTOR, b'\0')
    protective = bytes(446) + struct.pack('<BBBBBBBBII', 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, sectors - 1) + bytes(48) + b'\x55\xaa'
    front = (protective + head(1, sectors - 1, 2) + table).ljust(2048 * SECTOR, b'\0')
    return front + volume + bytes(SECTOR) + table + head(sectors - 1, 1, sectors - 33)
