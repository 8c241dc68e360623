#!/usr/bin/env python3
"""older.py MENURA-IMG MENURA-NBD MENURA: formats that are seldom met, between us and QEMU's tools.

qed and parallels in both directions (made, written, checked, compared); cloop, dmg and vvfat, which QEMU's tools only read, from
images that this script makes. Exit 77 (skipped) without qemu-img and qemu-io of version 10 or newer.
"""
import base64
import bz2
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zlib

from cells import need_peer, run_cells
from qmpvm import Vm

M = sys.argv[1]
SIZE = 9 * 1024 * 1024 + 512 * 3


def run(*args, ok=(0,), both=False):
    p = subprocess.run(args, capture_output=True, text=True, timeout=120)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr if both or p.returncode else p.stdout


def commands(rng, size, n):
    v = []
    for i in range(n):
        off = rng.randrange(size // 512 - 1) * 512
        length = min(rng.choice([512, 4096, 65536, 300 * 512, 1 << 20]), size - off)
        v += ["-c", f"write -z {off} {length}" if rng.randrange(5) == 0 else f"write -P {1 + (i * 7) % 255} {off} {length}"]
    return v


def agree(fmt, img, raw, chain=False):
    for tool in ("qemu-img", M):
        run(tool, "compare", "-q", "-f", fmt, "-F", "raw", img, raw)
        run(tool, "check", "-q", "-f", fmt, img)
    for verb in (["info"], ["info", "--output=json"], ["map", "--output=json"], ["check"]):
        theirs, ours = (re.sub(r'"(actual-size|virtual-size|filename)": .*|file length.*|disk size.*', "", run(t, *verb, img)) for t in ("qemu-img", M))
        assert theirs == ours, f"{verb}\n{theirs}\n{ours}"
    theirs, ours = (json.loads(run(t, "check", "--output=json", img)) for t in ("qemu-img", M))
    assert theirs == ours, (theirs, ours)


def both_ways(folder, fmt, options, seed):
    """Made by one, written by both in turn, at last filled by a conversion."""
    for maker in (M, "qemu-img"):
        rng, img, raw = random.Random(seed), f"{folder}/a.{fmt}", f"{folder}/a.raw"
        made = run(maker, "create", "-f", fmt, *(["-o", options] if options else []), img, str(SIZE))
        twin = run("qemu-img", "create", "-f", fmt, *(["-o", options] if options else []), img + "2", str(SIZE))
        assert made.replace(img, "X") == twin.replace(img + "2", "X"), made + twin
        with open(raw, "wb") as f:
            f.truncate(SIZE)
        agree(fmt, img, raw)
        for _ in range(2):
            todo = commands(rng, SIZE, 20)
            run("qemu-io", "-f", fmt, *todo, img)
            run("qemu-io", "-f", "raw", *todo, raw)
            agree(fmt, img, raw)
            run("qemu-io", "-f", "raw", *commands(rng, SIZE, 6), raw)
            run(M, "convert", "-n", "-f", "raw", "-O", fmt, raw, img)
            agree(fmt, img, raw)
        os.unlink(img)
        run(maker, "convert", "-f", "raw", "-O", fmt, raw, img)
        agree(fmt, img, raw)


def qed_chain(folder):
    """Layers on each other, by turns; the backing file changed; grown."""
    base, img, raw = f"{folder}/base.raw", f"{folder}/a.qed", f"{folder}/a.raw"
    with open(base, "wb") as f:
        f.write(random.Random(1).randbytes(SIZE))
    shutil.copy(base, raw)
    for maker in (M, "qemu-img"):
        for first in (base, f"{folder}/mid.qcow2"):
            fmt = "raw" if first == base else "qcow2"
            if fmt == "qcow2":
                run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", first)
            shutil.copy(base, raw)
            run(maker, "create", "-q", "-f", "qed", "-b", first, "-F", fmt, img)
            run(M, "compare", "-q", img, raw)
            todo = commands(random.Random(3), SIZE, 12)
            run("qemu-io", "-f", "qed", *todo, img)
            run("qemu-io", "-f", "raw", *todo, raw)
            agree("qed", img, raw)
            run(M, "rebase", "-u", "-b", base, "-F", "raw", img)
            agree("qed", img, raw)
    run(M, "resize", "-q", img, "+1M")
    with open(raw, "r+b") as f:
        f.truncate(SIZE + (1 << 20))
    agree("qed", img, raw)


def qed_dirty(folder):
    """NEED_CHECK is set: who writes mends first; entries that lead nowhere."""
    img, raw = f"{folder}/a.qed", f"{folder}/a.raw"
    with open(raw, "wb") as f:
        f.write(random.Random(1).randbytes(1 << 20))
    run(M, "convert", "-f", "raw", "-O", "qed", raw, img)
    with open(img, "r+b") as f:
        f.seek(0x50000 + 8 * 9)  # header, L1 table of four clusters, then the first L2 table or data
        l2 = int.from_bytes(open(img, "rb").read()[0x10000:0x10008], "little")
        f.seek(l2 + 8 * 9)
        f.write((1 << 40).to_bytes(8, "little"))
    shutil.copy(img, img + "2")
    theirs, ours = (re.sub(".*(table|entry).*\n", "", run(t, "check", i, ok=(2,))) for t, i in (("qemu-img", img), (M, img)))
    assert theirs.count("1 errors were found") == ours.count("1 errors were found") == 1, theirs + ours
    run(M, "check", "-r", "all", img, ok=(0, 3))
    run("qemu-img", "check", img, ok=(0, 3))
    with open(img + "2", "r+b") as f:
        f.seek(16)
        f.write(b"\2")
    assert "cleanly shut down: no" in run(M, "info", img + "2")
    run("qemu-io", "-f", "qed", "-c", "read 0 1k", img + "2")
    run(M, "convert", "-n", "-f", "raw", "-O", "qed", raw, img + "2")
    run("qemu-img", "compare", raw, img + "2")


def parallels_broken(folder):
    """In use, two clusters in one place, one behind the end, space that nothing uses."""
    raw, img = f"{folder}/a.raw", f"{folder}/a.hdd"
    with open(raw, "wb") as f:
        f.write(random.Random(1).randbytes(4 << 20))
    run("qemu-img", "convert", "-f", "raw", "-O", "parallels", raw, img)
    with open(img, "r+b") as f:
        f.seek(44)
        f.write((0x746F6E59).to_bytes(4, "little"))
        f.seek(64 + 4)
        f.write((1).to_bytes(4, "little"))
        f.seek(64 + 12)
        f.write((4000).to_bytes(4, "little"))
        f.truncate(9 << 20)
    run(M, "check", img, ok=(2,))
    run(M, "check", "-r", "all", img)
    run("qemu-img", "check", img)
    with open(raw, "r+b") as f:
        one = f.read(1 << 20)
        f.write(one + bytes(0))
        f.seek(3 << 20)
        f.write(bytes(1 << 20))
    run("qemu-img", "compare", img, raw)


def same_for_both(img, raw, fmt):
    for tool in ("qemu-img", M):
        for how in ([], ["-f", fmt]):
            run(tool, "convert", *how, "-O", "raw", img, raw + ".out")
            assert open(raw + ".out", "rb").read() == open(raw, "rb").read(), (tool, how)


def texture(n):
    rng = random.Random(n)
    return b"".join(rng.choice([bytes(512), rng.randbytes(512), bytes([rng.randrange(256)]) * 512]) for _ in range(n // 512))


def cloop(folder):
    for block in (512, 65536, 1 << 20):
        img, raw, data = f"{folder}/a.cloop", f"{folder}/a.raw", texture(2 << 20)
        script = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n".ljust(128, b"\0")
        packed = [zlib.compress(data[i:i + block]) for i in range(0, len(data), block)]
        at = 136 + 8 * (len(packed) + 1)
        table = b""
        for p in packed + [b""]:
            table += at.to_bytes(8, "big")
            at += len(p)
        with open(img, "wb") as f:
            f.write(script + block.to_bytes(4, "big") + len(packed).to_bytes(4, "big") + table + b"".join(packed))
        with open(raw, "wb") as f:
            f.write(data)
        same_for_both(img, raw, "cloop")
        assert "only read" in run(M, "bitmap", "--add", img, "x", ok=(1,))


def mish(first, rows):
    head = b"mish" + (1).to_bytes(4, "big") + first.to_bytes(8, "big") + (0).to_bytes(8, "big") + bytes(8) + bytes(4 + 4 + 24 + 136)
    out = head + len(rows).to_bytes(4, "big")
    for kind, sector, count, at, n in rows:
        out += kind.to_bytes(4, "big") + bytes(4) + b"".join(x.to_bytes(8, "big") for x in (sector, count, at, n))
    return out


def make_dmg(img, data, fork, bzip2):
    """Two partitions; chunks of each kind by turns."""
    body, tables, half = b"", [], len(data) // 1024
    for first in (0, half):
        rows = []
        for s in range(0, half, 128):
            part = data[(first + s) * 512:(first + min(s + 128, half)) * 512]
            kind = (s // 128) % 4
            kind = 2 if kind == 1 and not bzip2 else kind
            if not part.strip(b"\0"):
                rows.append((2 if kind % 2 else 0, s, len(part) // 512, len(body), 0))
                continue
            packed = part if kind == 0 else bz2.compress(part) if kind == 1 else zlib.compress(part)
            rows.append((1 if kind == 0 else 0x80000006 if kind == 1 else 0x80000005, s, len(part) // 512, len(body), len(packed)))
            body += packed
        tables.append(mish(first, rows + [(0xFFFFFFFF, half, 0, len(body), 0)]))
    koly = bytearray(b"koly" + (4).to_bytes(4, "big") + (512).to_bytes(4, "big")).ljust(512, b"\0")
    if fork:
        inner = b"".join(len(t).to_bytes(4, "big") + t for t in tables)
        more = b"".join(x.to_bytes(4, "big") for x in (256, 256 + len(inner), len(inner), 64)).ljust(256, b"\0") + inner + bytes(64)
        koly[40:56] = len(body).to_bytes(8, "big") + len(more).to_bytes(8, "big")
    else:
        rows = "".join(f"<dict><key>Data</key><data>\n{base64.encodebytes(t).decode()}</data></dict>" for t in tables)
        more = f"<?xml version='1.0'?><plist version='1.0'><dict><key>resource-fork</key><dict><key>blkx</key><array>{rows}</array></dict></dict></plist>".encode()
        koly[216:232] = len(body).to_bytes(8, "big") + len(more).to_bytes(8, "big")
    koly[32:40] = len(body).to_bytes(8, "big")
    koly[492:500] = (len(data) // 512).to_bytes(8, "big")
    with open(img, "wb") as f:
        f.write(body + more + koly)


def dmg(folder):
    img, raw, data = f"{folder}/a.dmg", f"{folder}/a.raw", texture(1 << 20) + bytes(1 << 20) + texture(1 << 20)
    with open(raw, "wb") as f:
        f.write(data)
    for fork, bzip2 in ((False, False), (False, True), (True, True)):
        make_dmg(img, data, fork, bzip2)
        for tool in (M,) if fork or bzip2 else (M, "qemu-img"):  # QEMU's bzip2 is a package; of a fork it wants more than its data
            for how in ([], ["-f", "dmg"]):
                run(tool, "convert", *how, "-O", "raw", img, raw + ".out")
                assert open(raw + ".out", "rb").read() == data, (tool, fork, how)


def tree_of(folder):
    return {os.path.relpath(os.path.join(d, f), folder): open(os.path.join(d, f), "rb").read() for d, _, files in os.walk(folder) for f in files if os.path.isfile(os.path.join(d, f))}


def unpack(raw, start, out):
    """What is in the file system, by mtools; fsck finds nothing."""
    part = raw + ".part"
    with open(raw, "rb") as f, open(part, "wb") as g:
        f.seek(start * 512)
        shutil.copyfileobj(f, g)
    run("fsck.vfat", "-n", part)
    shutil.rmtree(out, ignore_errors=True)
    os.mkdir(out)
    run("mcopy", "-s", "-n", "-i", part, "::*", out)
    return tree_of(out)


def vvfat(folder):
    for tool in ("mcopy", "fsck.vfat"):
        if not shutil.which(tool):
            print(f"     ({tool} is not installed)")
            return
    top, raw, out, rng = f"{folder}/files", f"{folder}/a.raw", f"{folder}/out", random.Random(5)
    for name, n in (("PLAIN.TXT", 10), ("lower.txt", 3000), ("a long name with blanks.and.dots", 70000), ("Grüße.txt", 5), ("empty", 0),
                    ("sub/deeper/still/file.bin", 300000), ("sub/" + "x" * 200, 1), (".hidden", 7)):
        os.makedirs(os.path.dirname(f"{top}/{name}"), exist_ok=True)
        with open(f"{top}/{name}", "wb") as f:
            f.write(rng.randbytes(n))
    for i in range(150):
        with open(f"{top}/sub/number {i}.c", "w") as f:
            f.write(str(i))
    os.symlink(top, f"{top}/loop")
    os.mkfifo(f"{top}/fifo")
    want = tree_of(top)
    for how, start, kind in (("", 63, "FAT16"), ("12:", 63, "FAT12"), ("16:", 63, "FAT16"), ("32:", 63, "FAT32"), ("floppy:", 0, "FAT12"),
                             ("floppy:12:", 0, "FAT12"), ("floppy:16:", 0, "FAT16")):
        run(M, "convert", "-O", "raw", f"fat:{how}{top}", raw)
        with open(raw, "rb") as f:
            assert kind.encode() in f.read(64 * 512)[start * 512:], how
        assert unpack(raw, start, out) == want, how
        theirs, ours = (re.search(r"virtual size.*", run(t, "info", f"fat:{how}{top}/sub/deeper"))[0] for t in ("qemu-img", M))
        assert theirs == ours, theirs + ours
    run(M, "convert", "-O", "raw", "--image-opts", f"driver=vvfat,dir={top},label=NAMED,floppy=on", raw)
    assert "NAMED" in run("mdir", "-i", raw, "::")
    sock = f"{folder}/sock"
    server = subprocess.Popen([sys.argv[2], "-t", "-f", "raw", "-k", sock, f"fat:rw:floppy:{top}"])
    try:
        for _ in range(100):
            if os.path.exists(sock):
                break
            time.sleep(0.05)
        run(M, "convert", "-O", "raw", f"nbd+unix:///?socket={sock}", raw)
        with open(f"{folder}/new", "wb") as f:
            f.write(b"new" * 20000)
        run("mcopy", "-i", raw, f"{folder}/new", "::new file")
        run("mdel", "-i", raw, "::lower.txt")
        run(M, "convert", "-n", "-f", "raw", "-O", "raw", raw, f"nbd+unix:///?socket={sock}")
        run(M, "convert", "-O", "raw", f"nbd+unix:///?socket={sock}", raw + "2")
        got = unpack(raw + "2", 0, out)
    finally:
        server.terminate()
        server.wait()
    assert got == {**{k: v for k, v in want.items() if k != "lower.txt"}, "new file": b"new" * 20000}
    assert tree_of(top) == want, "the folder was written to"
    with open(f"{top}/large", "wb") as f:
        f.truncate(3 << 20)
    assert "does not fit" in run(M, "info", f"fat:floppy:{top}", ok=(1,))
    assert "Valid FAT types" in run(M, "info", "--image-opts", f"driver=vvfat,dir={top},fat-type=7", ok=(1,))
    assert "cannot be longer" in run(M, "info", "--image-opts", f"driver=vvfat,dir={top},label=123456789012", ok=(1,))


def hostile(folder):
    """Headers that ask for too much: one line each, soon, in little memory."""
    start = {"qed": b"QED\0", "parallels": b"WithouFreSpacExt", "luks": b"LUKS\xba\xbe", "cloop": b"#!/bin/sh\n#V2.0 Format\n"}
    little = {fmt: lambda *v: b"".join(x.to_bytes(n, "little") for x, n in v) for fmt in start}

    def luks_head(payload=4096, key=32, rounds=1000, slot_rounds=1000, material=8, stripes=4000, cipher=b"aes"):
        slots = b"".join((0xAC71F3).to_bytes(4, "big") + slot_rounds.to_bytes(4, "big") + bytes(32) + (material + i * 256).to_bytes(4, "big") + stripes.to_bytes(4, "big")
                         for i in range(8))
        return (start["luks"] + b"\0\1" + cipher.ljust(32, b"\0") + b"cbc-plain64".ljust(32, b"\0") + b"sha256".ljust(32, b"\0") + payload.to_bytes(4, "big") +
                key.to_bytes(4, "big") + bytes(20 + 32) + rounds.to_bytes(4, "big") + bytes(40) + slots)

    def qed_head(cluster=65536, table=4, head=1, features=0, l1=65536, size=1 << 20, name=0, name_len=0):
        return start["qed"] + little["qed"]((cluster, 4), (table, 4), (head, 4), (features, 8), (0, 8), (0, 8), (l1, 8), (size, 8), (name, 4), (name_len, 4))

    def parallels_head(tracks=2048, entries=16, sectors=2048, data=2048):
        return start["parallels"] + little["parallels"]((2, 4), (16, 4), (16, 4), (tracks, 4), (entries, 4), (sectors, 8), (0, 4), (data, 4), (0, 4), (0, 8))

    def cloop_head(block=65536, count=4, at=()):
        return start["cloop"].ljust(128, b"\0") + block.to_bytes(4, "big") + count.to_bytes(4, "big") + b"".join(x.to_bytes(8, "big") for x in at)

    koly = bytearray(b"koly" + (4).to_bytes(4, "big") + (512).to_bytes(4, "big")).ljust(512, b"\0")
    koly[216:232] = (0).to_bytes(8, "big") + (1 << 62).to_bytes(8, "big")
    bad = [("luks", luks_head(rounds=1 << 31)), ("luks", luks_head(slot_rounds=0xFFFFFFFF)), ("luks", luks_head(stripes=0xFFFFFFFF)), ("luks", luks_head(key=0xFFFFFFFF)),
           ("luks", luks_head(material=0xFFFFFF)), ("luks", luks_head(material=0)), ("luks", luks_head(payload=0xFFFFFFFF)), ("luks", luks_head(cipher=b"frob")),
           ("luks", start["luks"]), ("qed", qed_head(cluster=1 << 31)), ("qed", qed_head(cluster=0)), ("qed", qed_head(table=1 << 31)), ("qed", qed_head(head=0xFFFFFFFF)),
           ("qed", qed_head(l1=1 << 60)), ("qed", qed_head(size=(1 << 64) - 512)), ("qed", qed_head(features=1 << 40)), ("qed", qed_head(features=1, name=1 << 31, name_len=99)),
           ("parallels", parallels_head(tracks=0)), ("parallels", parallels_head(tracks=0xFFFFFFFF)), ("parallels", parallels_head(entries=0xFFFFFFFF)),
           ("parallels", parallels_head(sectors=(1 << 64) - 1)), ("parallels", parallels_head(data=0, entries=1 << 24)), ("cloop", cloop_head(block=0)),
           ("cloop", cloop_head(block=0xFFFFFE00)), ("cloop", cloop_head(count=0xFFFFFFFF)), ("cloop", cloop_head(at=(200, 100, 300, 400, 500))),
           ("cloop", cloop_head(at=(200, 1 << 60, (1 << 60) + 1, (1 << 60) + 2, (1 << 60) + 3))), ("dmg", bytes(koly)), ("dmg", bytes(512))]
    for i, (fmt, head) in enumerate(bad):
        img = f"{folder}/{i}.{fmt}"
        with open(img, "wb") as f:
            f.write(head)
            if fmt != "dmg":
                f.truncate(2 << 20)
        began = time.time()
        p = subprocess.run(["prlimit", f"--as={2 << 30}", M, "convert", "--object", "secret,id=s,data=x", "-O", "raw", "--image-opts",
                            f"driver={fmt},file.filename={img}" + (",key-secret=s" if fmt == "luks" else ""), f"{folder}/out"], capture_output=True, text=True, timeout=20)
        assert p.returncode == 1 and p.stderr.count("\n") == 1 and time.time() - began < 10, (i, fmt, p.returncode, p.stderr)


def machine(folder):
    """Folders, and images of each format, in a machine."""
    for fmt in ("qed", "parallels"):
        run(M, "create", "-q", "-f", fmt, f"{folder}/a.{fmt}", "1M")
    os.mkdir(f"{folder}/d")
    with open(f"{folder}/d/hello.txt", "w") as f:
        f.write("hello")
    with Vm(sys.argv[3], "-drive", f"file={folder}/a.qed,if=none,id=a", "-drive", f"file={folder}/a.parallels,if=none,id=b", "-drive",
            f"file=fat:rw:{folder}/d,format=raw,if=none,id=c", "-drive", f"file=fat:{folder}/d,format=raw,if=none,id=d,readonly=on", "-drive",
            f"file=fat:floppy:{folder}/d,format=raw,if=none,id=e,snapshot=on") as vm:
        drives = {b["device"]: b["inserted"] for b in vm.cmd("query-block")}
        assert [drives[k]["drv"] for k in "abcd"] == ["qed", "parallels", "raw", "raw"], drives
        assert [drives[k]["ro"] for k in "abcde"] == [False, False, False, True, False], drives
        for k in "abc":
            vm.io(drives[k]["node-name"], "write -P 9 64k 64k")
            vm.io(drives[k]["node-name"], "read -P 9 64k 64k")
        vm.cmd("blockdev-add", driver="vvfat", node_name="v", dir=f"{folder}/d", floppy=True, label="MINE", fat_type=12)
        assert "Valid FAT types" in vm.err("blockdev-add", driver="vvfat", node_name="w", dir=f"{folder}/d", rw=True, fat_type=13)
    assert os.listdir(f"{folder}/d") == ["hello.txt"]
    run("qemu-img", "check", f"{folder}/a.qed")
    run("qemu-img", "check", f"{folder}/a.parallels")


def main():
    need_peer("qemu-img", "qemu-io")
    cells = [(f"qed {o}", both_ways, ("qed", o, o)) for o in ("", "cluster_size=4k", "cluster_size=8k,table_size=2", "cluster_size=1M,table_size=16")]
    cells += [(f"parallels {o}", both_ways, ("parallels", o, o)) for o in ("", "cluster_size=64k", "cluster_size=4k")]
    cells += [("qed chain", qed_chain, ()), ("qed dirty", qed_dirty, ()), ("parallels broken", parallels_broken, ()), ("cloop", cloop, ()), ("dmg", dmg, ()), ("vvfat", vvfat, ()), ("hostile", hostile, ()), ("machine", machine, ())]
    run_cells(cells, sys.argv[4:])


if __name__ == "__main__":
    main()
