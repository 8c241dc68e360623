#!/usr/bin/env python3
"""soname.py FILE: the name under which programs linked with this shared library look for it (DT_SONAME, System V ABI, dynamic section)."""
import struct
import sys

PT_LOAD, PT_DYNAMIC, DT_STRTAB, DT_SONAME = 1, 2, 5, 14


def main(path):
    data = open(path, 'rb').read()
    wide, order = data[4] == 2, '<' if data[5] == 1 else '>'
    offset, = struct.unpack_from(order + ('Q' if wide else 'I'), data, 32 if wide else 28)
    size, count = struct.unpack_from(order + 'HH', data, 54 if wide else 42)
    heads = []
    for i in range(count):
        at = offset + i * size
        if wide:
            kind, _, where, address, _, length = struct.unpack_from(order + 'IIQQQQ', data, at)
        else:
            kind, where, address, _, length = struct.unpack_from(order + 'IIIII', data, at)
        heads.append((kind, where, address, length))
    entry = order + ('qQ' if wide else 'iI')
    _, where, _, length = next(h for h in heads if h[0] == PT_DYNAMIC)
    tags = dict(struct.unpack_from(entry, data, where + i) for i in range(0, length, struct.calcsize(entry)))
    strings = next(w + tags[DT_STRTAB] - a for k, w, a, n in heads if k == PT_LOAD and a <= tags[DT_STRTAB] < a + n)
    start = strings + tags[DT_SONAME]
    print(data[start:data.index(b'\0', start)].decode())


main(sys.argv[1])
