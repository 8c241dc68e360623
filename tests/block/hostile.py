#!/usr/bin/env python3
"""hostile.py MENURA-IMG: images made to hurt. Each ends in one line that says what is wrong, soon, in bounded memory."""
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import zlib

M = sys.argv[1]
MEMORY = 1 << 30
SANITIZED = b"__asan_init" in open(M, "rb").read() or b"__tsan_init" in open(M, "rb").read()


def bound():
    """A sanitizer's own shadow is larger than any limit."""
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(*args, ok=True):
    p = subprocess.run([M, *args], capture_output=True, text=True, timeout=30,
                       preexec_fn=bound)
    assert p.returncode == 0 or not ok, p.stderr
    return p


def refused(want, *args):
    p = run(*args, ok=False)
    assert p.returncode == 1, f"{args}: status {p.returncode} {p.stdout}{p.stderr}"
    assert re.search(want, p.stderr) and p.stderr.count("\n") == 1, f"{args}: not one line of /{want}/ but {p.stderr!r}"


def create(fmt, name, size="8M", *args):
    run("create", "-q", "-f", fmt, *args, name, size)


def put(name, at, data):
    with open(name, "r+b") as f:
        f.seek(at)
        f.write(data)


def peek(name, at, n):
    with open(name, "rb") as f:
        f.seek(at)
        return f.read(n)


def fill(fmt, name, size=8 << 20, *args):
    """All blocks have a place."""
    with open("full", "wb") as f:
        f.write(b"x" * size)
    run("convert", "-f", "raw", "-O", fmt, *args, "full", name)


def writes(fmt, name):
    """Arguments that open the image for writing."""
    create("raw", "small", "512")
    return ("convert", "-n", "-f", "raw", "-O", fmt, "small", name)


# ---- huge tables ----
def vdi_table():
    create("vdi", "a")
    put("a", 0x180, struct.pack("<I", 0x3fffffff))
    refused("table of blocks lies at an invalid offset", "info", "a")
    put("a", 0x158, struct.pack("<I", 0xfffffe00))
    os.truncate("a", 1 << 33)
    refused("cannot read the table.*too large|begin inside", "info", "a")


def vpc_table():
    create("vpc", "a", "8M", "-o", "force_size=on")
    put("a", 512 + 28, struct.pack(">I", 0x7fffffff))
    refused("table of blocks lies at an invalid offset", "info", "a")
    os.truncate("a", 1 << 35)
    refused("cannot read the table.*too large", "info", "a")
    put("a", 512 + 32, struct.pack(">I", 3))
    refused("invalid block size", "info", "a")


def vmdk_tables():
    create("vmdk", "a")
    put("a", 12, struct.pack("<Q", 1 << 52))
    refused("directory lies beyond the end", "info", "a")
    os.truncate("a", 1 << 40)
    refused("grain directory.*too large", "info", "a")
    put("a", 20, struct.pack("<Q", 1 << 40))
    refused("size of grains", "info", "a")


def vmdk_texts():
    head = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"x\"\n"
    for text, want in (("", "no extents"), ("RW 8 ZERO\n" * 5000, "more than 4096"), ("x" * (2 << 20), "too large"),
                       ("RW 9223372036854775807 ZERO\nRW 8 ZERO\n", "too large"), ("RW 8 SPARSE \"a\"\n", "no sparse extent"),
                       ("RW 8 FLAT \"/nowhere\"\n", "cannot open '/nowhere'"), ("RW 8 SESPARSE \"b\"\n", "SESPARSE are not supported")):
        with open("a", "w") as f:
            f.write(head + text)
        refused(want, "info", "a")


def vhdx_tables():
    for at in (64 << 10, 128 << 10):
        create("vhdx", "a")
        put("a", at, b"\0" * 4096)
        run("info", "a")
    put("a", 64 << 10, b"\0" * 4096)
    refused("none of its two headers", "info", "a")
    create("vhdx", "a")
    put("a", 192 << 10, b"\0" * 16)
    run("info", "a")
    put("a", 256 << 10, b"\0" * 16)
    refused("none of its two region tables", "info", "a")
    create("vhdx", "a")
    put("a", (3 << 20) + 65536 + 8, struct.pack("<Q", 1 << 45))
    refused("table of blocks is too small", "info", "a")


# ---- blocks at one place ----
def overlaps():
    for fmt, at, n in (("vdi", 512, 4), ("vpc", 1536, 4), ("vhdx", 2 << 20, 8)):
        fill(fmt, "a", 16 << 20)
        put("a", at + n, peek("a", at, n))
        run("info", "a")
        refused("two blocks of the disk lie at one place", *writes(fmt, "a"))
    fill("vmdk", "a")
    table = struct.unpack("<I", peek("a", 26 * 512, 4))[0] * 512
    put("a", table + 4, peek("a", table, 4))
    assert "lies where another one does" in run("check", "a", ok=False).stdout


# ---- chains ----
def loops():
    for fmt in ("vpc", "vmdk"):
        create(fmt, "a")
        create(fmt, "b", "8M", "-b", "a", "-F", fmt)
        create(fmt, "c", "8M", "-b", "b", "-F", fmt)
        os.rename("c", "a")
        refused("its own backing file", "map", "-f", fmt, "a")
        refused("infinite loop", "info", "--backing-chain", "-f", fmt, "a")


# ---- compressed grains ----
def bombs():
    fill("vmdk", "a", 1 << 20, "-o", "subformat=streamOptimized")
    grain = 128 * 512
    table = struct.unpack("<I", peek("a", 26 * 512, 4))[0] * 512
    at = struct.unpack("<I", peek("a", table, 4))[0] * 512
    assert at >= grain
    for bomb, size in ((zlib.compress(bytes(64 << 20)), None), (zlib.compress(bytes(grain)), 0xfffffff0), (b"junk" * 20, None), (b"", 0)):
        put("a", at, struct.pack("<QI", 0, len(bomb) if size is None else size) + bomb)
        refused("error while converting", "convert", "-O", "raw", "a", "out")


def main():
    cases = [vdi_table, vpc_table, vmdk_tables, vmdk_texts, vhdx_tables, overlaps, loops, bombs]
    bad = 0
    for case in cases:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            os.chdir(folder)
            try:
                case()
                print(f"ok   {case.__name__}")
            except (AssertionError, subprocess.TimeoutExpired) as e:
                bad += 1
                print(f"FAIL {case.__name__}: {e}")
            os.chdir("/")
    sys.exit(bad > 0)


if __name__ == "__main__":
    M = os.path.abspath(M)
    main()
