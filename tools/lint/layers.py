#!/usr/bin/env python3
"""layers.py ROOT: each folder includes only headers of the layers that CONTRIBUTING.md allows it. Prints the offences."""
import os
import re
import sys

# folder -> folders and headers it may include besides its own; the first prefix that fits a file counts
EVERYWHERE = ["util/"]
FRONT = ["block/disk.h", "block/drive.h", "chr/chr.h", "ui/ui.h", "net/net.h"]  # what devices see of back ends
RULES = [
    ("util/", []),
    ("core/", []),
    # disks are drained before their state is written; snapshots of the machine have the disks' part in images or in a set
    ("migrate/", ["core/", "block/disk.h", "block/image.h", "block/snapset/snapset.h"]),
    ("block/", ["core/"]),
    ("net/", ["core/", "chr/chr.h"]),  # guestfwd reaches character devices
    ("chr/", ["core/"]),
    ("ui/", ["core/"]),
    ("tcg/", ["core/"]),
    ("target/", ["core/", "tcg/"]),
    ("accel/", ["core/", "tcg/", "target/"]),
    ("hw/intc/", ["core/", "hw/", "target/"] + FRONT),
    ("hw/machine/", ["core/", "hw/", "target/"] + FRONT),
    ("hw/", ["core/", "hw/"] + FRONT),
    ("gdb/", ["core/", "chr/", "monitor/"]),
    ("monitor/", ["core/", "chr/", "block/", "ui/", "net/", "migrate/", "hw/", "gdb/", "target/"]),
    ("app/", None),
    ("tests/", None),
    ("tools/", None),
    ("schema/", ["core/"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def rule_for(path):
    for prefix, allowed in RULES:
        if path.startswith(prefix):
            return prefix, allowed
    return None, []


def offences(root, path):
    prefix, allowed = rule_for(path)
    if prefix is None:
        yield "no layer is known for this folder (RULES in tools/lint/layers.py)"
        return
    if allowed is None:
        return
    for header in INCLUDE.findall(open(f"{root}/{path}", errors="replace").read()):
        if "/" not in header or not os.path.isdir(f"{root}/{header.split('/')[0]}"):
            continue  # generated, or beside the file
        if not header.startswith(tuple([prefix] + allowed + EVERYWHERE)):
            yield f'includes "{header}", which {prefix} may not see'


def sources(root):
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith(".") and d != "__pycache__" and not os.path.exists(f"{folder}/{d}/meson-private")]
        for f in files:
            if f.endswith((".c", ".h", ".def")):
                yield os.path.relpath(f"{folder}/{f}", root)


def main():
    root = sys.argv[1]
    bad = [f"{p}: {o}" for p in sorted(sources(root)) for o in offences(root, p)]
    print("\n".join(bad) or "the layers are kept")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
