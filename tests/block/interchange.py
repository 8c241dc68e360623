#!/usr/bin/env python3
"""interchange.py MENURA-IMG MENURA-QEMU-OR-EMPTY: images of ours under QEMU's tools and of QEMU's under ours, cell by cell.

Each cell makes an image with one program, changes it with the other and asks both what they see: `check` finds nothing,
`compare` and the raw bytes agree. Exit 77 (skipped) without qemu-img and qemu-io of version 10 or newer.
"""
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

from cells import need_peer, run_cells

M = sys.argv[1]
NBD = os.path.join(os.path.dirname(M), "..", "nbd", "menura-nbd")
SIZE = 6 * 1024 * 1024 + 512 * 3
FEATURES = {
    "plain": "", "v2": "compat=0.10", "c512": "cluster_size=512", "c4k": "cluster_size=4k", "c2M": "cluster_size=2M",
    "r1": "refcount_bits=1,cluster_size=4k", "r2": "refcount_bits=2", "r4": "refcount_bits=4", "r8": "refcount_bits=8",
    "r32": "refcount_bits=32", "r64": "refcount_bits=64,cluster_size=1k", "lazy": "lazy_refcounts=on",
    "ext": "extended_l2=on", "ext16k": "extended_l2=on,cluster_size=16k", "zstd": "compression_type=zstd",
    "meta": "preallocation=metadata", "falloc": "preallocation=falloc", "full": "preallocation=full,cluster_size=4k",
    "data": "data_file=DATA", "dataraw": "data_file=DATA,data_file_raw=on",
}
# Other formats: (name, driver, options of create, what differs: "map" QEMU's map tells less than ours, "check" it has none,
# "size" the disk is rounded up, "unseen" by its first bytes, "packed" only compressed writes to a new image, "chain" backing files of the same format)
FORMATS = [
    ("vdi", "vdi", "", ()), ("vdi-static", "vdi", "static=on", ("map",)),
    ("vpc", "vpc", "", ("check", "size")), ("vpc-size", "vpc", "force_size=on", ("check",)),
    ("vpc-fixed", "vpc", "subformat=fixed", ("check", "size", "map", "unseen")),
    ("vpc-fixed-size", "vpc", "subformat=fixed,force_size=on", ("check", "map", "unseen")),
    ("vhdx", "vhdx", "", ("map",)), ("vhdx-1M", "vhdx", "block_size=1M,log_size=2M", ("map",)),
    ("vhdx-fixed", "vhdx", "subformat=fixed", ("map",)),
    ("vmdk", "vmdk", "", ("chain",)), ("vmdk-zeroed", "vmdk", "zeroed_grain=on,adapter_type=lsilogic", ("chain",)),
    ("vmdk-flat", "vmdk", "subformat=monolithicFlat,adapter_type=buslogic", ("map",)),
    ("vmdk-split", "vmdk", "subformat=twoGbMaxExtentSparse", ("chain",)),
    ("vmdk-split-flat", "vmdk", "subformat=twoGbMaxExtentFlat,hwversion=7,toolsversion=9", ("map",)),
    ("vmdk-stream", "vmdk", "subformat=streamOptimized,compat6=on", ("packed",)),
]


def run(*args, ok=(0,)):
    p = subprocess.run(args, capture_output=True, text=True)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


class Cell:
    def __init__(self, folder, name, seed, fmt="qcow2", quirks=()):
        self.fmt, self.quirks = fmt, quirks
        self.img, self.raw = f"{folder}/{name}.{fmt}", f"{folder}/{name}.raw"
        self.data = f"{folder}/{name}.data"
        self.rng, self.quirky = random.Random(seed), seed in ("meta", "dataraw")
        with open(self.raw, "wb") as f:
            f.truncate(SIZE)

    def options(self, text):
        return ["-o", text.replace("DATA", self.data)] if text else []

    def io(self, commands):
        """The same commands, through qemu-io, to the image and to the raw twin."""
        for file, fmt in ((self.img, self.fmt), (self.raw, "raw")):
            args = [x for c in commands for x in ("-c", c)]
            out = run("qemu-io", "-f", fmt, "-d", "unmap", *args, file)
            assert "failed" not in out, out

    def our_io(self, commands, killed=False):
        """The same, but our driver does it: the image is served over NBD. killed: and is never closed."""
        sock = self.img + ".sock"
        nbd = subprocess.Popen([NBD, "-f", self.fmt, "-k", sock, "-t", "--discard=unmap", self.img])
        try:
            for _ in range(200):
                if os.path.exists(sock):
                    break
                time.sleep(0.05)
            for file in (f"nbd+unix:///?socket={sock}", self.raw):
                out = run("qemu-io", "-f", "raw", "-d", "unmap", *[x for c in commands for x in ("-c", c)], file)
                assert "failed" not in out, out
        finally:
            nbd.kill() if killed else nbd.terminate()
            nbd.wait()

    def commands(self, n=24):
        v = []
        for i in range(n):
            off = self.rng.randrange(SIZE // 512 - 1) * 512
            length = min(self.rng.choice([512, 4096, 65536, 300 * 512, 1 << 20]), SIZE - off)
            kind = self.rng.randrange(6)
            if kind == 0:
                v.append(f"write -z {off} {length}")
            elif kind == 1:
                v.append(f"write -z -u {off} {length}")
            else:
                v.append(f"write -P {1 + (i * 7 + kind) % 255} {off} {length}")
        return v

    def ours_writes(self):
        """menura-img writes: the twin, scattered anew, is converted onto the existing image."""
        run("qemu-io", "-f", "raw", *[x for c in self.commands(8) for x in ("-c", c)], self.raw)
        run(M, "convert", "-n", "-f", "raw", "-O", self.fmt, self.raw, self.img)

    def agree(self):
        if "check" not in self.quirks:
            run("qemu-img", "check", "-f", self.fmt, self.img)
            run(M, "check", self.img)
        run("qemu-img", "compare", "-f", self.fmt, "-F", "raw", self.img, self.raw)
        run(M, "compare", "-f", self.fmt, "-F", "raw", self.img, self.raw)
        run(M, "convert", "-f", self.fmt, self.img, self.raw + ".out")
        with open(self.raw, "rb") as a, open(self.raw + ".out", "rb") as b:
            assert a.read() == b.read(), "the bytes differ"
        os.unlink(self.raw + ".out")
        # QEMU looks below preallocated clusters for holes and does not name offset 0 of a data file: we do neither
        for verb in ("info",) if self.quirky or "map" in self.quirks else ("info", "map"):
            theirs, ours = (run(t, verb, "--output=json", "-f", self.fmt, self.img) for t in ("qemu-img", M))
            if verb == "info":  # QEMU counts a file's length in sectors
                theirs, ours = (re.sub(r'"(actual-size|virtual-size)": \d+', "", x) for x in (theirs, ours))
            assert theirs == ours, f"{verb}:\n" + "\n".join(difflib.unified_diff(theirs.split("\n"), ours.split("\n"), "qemu", "menura", n=0))


def feature(folder, name, maker):
    c = Cell(folder, f"{name}-{'ours' if maker == M else 'qemu'}", name)
    run(maker, "create", "-q", "-f", "qcow2", *c.options(FEATURES[name]), c.img, str(SIZE))
    c.agree()
    c.io(c.commands())
    c.agree()
    c.ours_writes()
    c.agree()
    c.io(c.commands())
    c.agree()
    if not name.startswith("data"):
        snapshots(c)


def other_format(folder, name, fmt, options, quirks, maker):
    """An image of another format, made by one program and written by both in turn."""
    c = Cell(folder, f"{name}-{'ours' if maker == M else 'qemu'}", name, fmt, quirks)
    run(maker, "create", "-q", "-f", fmt, *c.options(options), c.img, str(SIZE))
    if "size" in quirks:
        with open(c.raw, "r+b") as f:
            f.truncate(json.loads(run("qemu-img", "info", "--output=json", "-f", fmt, c.img))["virtual-size"])
    seen = "raw" if "unseen" in quirks else fmt
    assert json.loads(run(M, "info", "--output=json", c.img))["format"] == seen, "we take it for something else"
    if "packed" in quirks:
        run("qemu-io", "-f", "raw", *[x for k in c.commands() for x in ("-c", k)], c.raw)
        converted(c, options, M)
        return converted(c, options, "qemu-img")
    for turn in (lambda: None, lambda: c.io(c.commands()), lambda: c.our_io(c.commands()), lambda: c.io(c.commands()), c.ours_writes):
        turn()
        c.agree()
    converted(c, options, maker)
    if "chain" in quirks:
        layers(c, options, maker)


def layers(c, options, maker):
    """Two layers on the image, by the other program and by the same."""
    for who in ("qemu-img" if maker == M else M, maker):
        below, c.img = c.img, f"{c.img}.{who == M}.vmdk"
        run(who, "create", "-q", "-f", c.fmt, "-b", os.path.basename(below), "-F", c.fmt, *c.options(options), c.img)
        c.io(c.commands(8))
        c.our_io(c.commands(8))
        c.agree()


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def name_last_entry(img):
    """QEMU says after each entry that its log is empty; a crash before that leaves headers that name the entry."""
    with open(img, "r+b") as f:
        image = bytearray(f.read(2 << 20))
        last = image.rfind(b"loge")
        for at in (64 << 10, 128 << 10):
            image[at + 48:at + 64] = image[last + 32:last + 48]
            image[at + 4:at + 8] = bytes(4)
            image[at + 4:at + 8] = crc32c(image[at:at + 4096]).to_bytes(4, "little")
        f.seek(0)
        f.write(image)


def replayed_log(folder, writer):
    """A vhdx whose table of blocks never reached its place: who opens it takes it from the log of the one who wrote."""
    c = Cell(folder, f"log-{writer == M}", "log", "vhdx", ("map",))
    run(writer, "create", "-q", "-f", "vhdx", "-o", "block_size=1M", c.img, str(SIZE))
    v = c.commands(12)
    if writer == M:
        c.our_io([*v, "flush"], killed=True)
    else:
        run("qemu-io", "-f", "raw", *[x for k in v for x in ("-c", k)], c.raw)
        run("qemu-io", "-f", "vhdx", *[x for k in [*v, "flush", "abort"] for x in ("-c", k)], c.img, ok=(-6,))
        name_last_entry(c.img)
    with open(c.img, "r+b") as f:
        f.seek(2 << 20)
        table = f.read(4096)
        assert table != bytes(4096)
        f.seek(2 << 20)
        f.write(bytes(4096))
    reader = "qemu-img" if writer == M else M
    bad = subprocess.run([M, "info", c.img], capture_output=True, text=True)
    assert bad.returncode == 1 and "log must be replayed" in bad.stderr and bad.stderr.count("\n") == 1, bad.stderr
    assert "repaired" in run(reader, "check", "-r", "all", c.img)
    with open(c.img, "rb") as f:
        f.seek(2 << 20)
        assert f.read(4096) == table, "the log had another table"
    c.agree()


def differencing(folder):
    """VHD over VHD, which QEMU does not have: the base is QEMU's, two layers are ours."""
    c = Cell(folder, "diff", "diff", "vpc", ("check",))
    run("qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size=on", c.img, str(SIZE))
    c.io(c.commands())
    for _ in range(2):
        below, c.img = c.img, c.img + ".vhd"
        run(M, "create", "-q", "-f", "vpc", "-b", os.path.basename(below), "-F", "vpc", c.img)
        for _ in range(2):
            c.our_io(c.commands())
            run(M, "compare", "-f", "vpc", "-F", "raw", c.img, c.raw)
    assert run(M, "info", "--backing-chain", c.img).count("virtual size") == 3
    run(M, "convert", "-f", "vpc", "-O", "raw", c.img, c.raw + ".out")
    run("cmp", c.raw, c.raw + ".out")
    run("qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size=on", below, str(SIZE))
    bad = subprocess.run([M, "compare", "-f", "vpc", c.img, c.raw], capture_output=True, text=True)
    assert "not the parent" in bad.stderr and bad.stderr.count("\n") == 1, bad.stderr


def converted(c, options, maker):
    """The content, converted to a new image of the format by the other program."""
    c.img += ".again"
    run("qemu-img" if maker == M else M, "convert", "-f", "raw", "-O", c.fmt, *c.options(options), c.raw, c.img)
    c.agree()


def snapshots(c):
    if "r1-" in c.img:
        return
    before = open(c.raw, "rb").read()
    run(M, "snapshot", "-c", "one", c.img)
    run("qemu-img", "check", c.img)
    c.io(c.commands(6))
    run("qemu-img", "snapshot", "-c", "two", c.img)
    run(M, "check", c.img)
    c.ours_writes()
    c.agree()
    run(M, "snapshot", "-a", "one", c.img)
    run("qemu-img", "check", c.img)
    open(c.raw, "wb").write(before)
    c.agree()
    c.io(c.commands(4))
    run("qemu-img", "snapshot", "-d", "one", c.img)
    run(M, "snapshot", "-d", "two", c.img)
    c.agree()
    assert "two" not in run("qemu-img", "snapshot", "-l", c.img)


def packed(folder, kind, writer, reader):
    c = Cell(folder, f"packed-{kind}-{'ours' if writer == M else 'qemu'}", kind)
    with open(c.raw, "r+b") as f:
        for i in range(0, SIZE, 65536):
            f.write(random.Random(i).randbytes(16384) + bytes(49152) if i % 3 else bytes(range(256)) * 256)
        f.truncate(SIZE)
    run(writer, "convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", c.raw, c.img)
    c.agree()
    c.io(c.commands(10))
    c.agree()
    run(reader, "convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", c.img, c.img + ".2")
    os.replace(c.img + ".2", c.img)
    c.agree()


def chain(folder, makers):
    """A raw base, qcow2 layers by turns of both programs, each shorter or longer than the one below."""
    c = Cell(folder, "chain-" + "".join("o" if m == M else "q" for m in makers), "chain")
    base = c.img + ".base"
    shutil.copy(c.raw, base)
    run("qemu-io", "-f", "raw", *[x for k in c.commands() for x in ("-c", k)], base)
    shutil.copy(base, c.raw)
    below, fmt = base, "raw"
    for i, maker in enumerate(makers):
        layer = f"{c.img}.{i}"
        run(maker, "create", "-q", "-f", "qcow2", "-b", os.path.basename(below), "-F", fmt, layer)
        c.img = layer
        c.io(c.commands(10))
        below, fmt = layer, "qcow2"
    c.agree()
    assert run("qemu-img", "info", "--backing-chain", c.img).count("virtual size") == len(makers) + 1
    assert run(M, "info", "--backing-chain", c.img).count("virtual size") == len(makers) + 1
    run(M, "resize", "-q", c.img, "+1M")
    with open(c.raw, "r+b") as f:
        f.truncate(SIZE + (1 << 20))
    c.agree()
    run(M, "rebase", "-b", os.path.basename(base), "-F", "raw", c.img)
    c.agree()
    run(M, "commit", "-q", c.img)
    run("qemu-img", "compare", base, c.raw)
    c.agree()


def marked(img, name):
    """What the bitmap marks, read by QEMU through an export's map of dirty areas."""
    sock = img + ".sock"
    nbd = subprocess.Popen(["qemu-nbd", "-r", "-f", "qcow2", "-B", name, "-k", sock, "-t", img])
    try:
        for _ in range(200):
            if os.path.exists(sock):
                break
            time.sleep(0.05)
        spec = f"driver=nbd,server.type=unix,server.path={sock},x-dirty-bitmap=qemu:dirty-bitmap:{name}"
        return [(e["start"], e["length"]) for e in json.loads(run("qemu-img", "map", "--output=json", "--image-opts", spec)) if not e["data"]]
    finally:
        nbd.terminate()
        nbd.wait()


def bitmaps(folder):
    """QEMU makes bitmaps, we write, QEMU reads what they recorded."""
    c = Cell(folder, "bitmaps", "bitmaps")
    run("qemu-img", "create", "-q", "-f", "qcow2", c.img, "8M")
    run("qemu-img", "bitmap", "--add", c.img, "records")
    run("qemu-img", "bitmap", "--add", "-g", "4k", c.img, "fine")
    run("qemu-img", "bitmap", "--add", c.img, "off")
    run("qemu-img", "bitmap", "--disable", c.img, "off")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 64k", c.img)
    part = c.raw + ".part"
    with open(part, "wb") as f:
        f.write(b"x" * 12288)
    run(M, "convert", "-n", "-f", "raw", "-O", "qcow2", part, c.img)
    assert run("qemu-img", "info", "--output=json", c.img).count('"auto"') == 2
    assert "in-use" not in run("qemu-img", "info", c.img)
    run(M, "snapshot", "-c", "s", c.img)
    run(M, "rebase", "-u", "-b", "", c.img)
    run("qemu-img", "check", c.img)
    run(M, "check", c.img)
    for name, areas in (("records", [(0, 65536)]), ("fine", [(0, 65536)]), ("off", [])):
        assert marked(c.img, name) == areas, (name, marked(c.img, name))
    with open(part, "wb") as f:  # a hole of 2M, then bytes
        f.truncate(2 << 20)
        f.seek(2 << 20)
        f.write(b"y" * 12288)
    run("qemu-img", "bitmap", "--clear", c.img, "fine")
    run(M, "convert", "-n", "--target-is-zero", "-f", "raw", "-O", "qcow2", part, c.img)
    run("qemu-img", "check", c.img)
    for name, areas in (("records", [(0, 65536), (2 << 20, 65536)]), ("fine", [(2 << 20, 12288)])):
        assert marked(c.img, name) == areas, (name, marked(c.img, name))
    theirs, ours = (re.sub(r"disk size.*", "", run(tool, "info", c.img)).split("Child")[0] for tool in ("qemu-img", M))
    assert theirs == ours, theirs + ours


def bitmap_verbs(folder):
    """bitmap and dd do the same in both programs, step by step."""
    imgs = {}
    for tool in ("qemu-img", M):
        a, b = imgs[tool] = f"{folder}/{tool == M}-a.qcow2", f"{folder}/{tool == M}-b.qcow2"
        run(tool, "create", "-q", "-f", "qcow2", a, "8M")
        run(tool, "create", "-q", "-f", "qcow2", b, "8M")
        run(tool, "bitmap", "--add", "-g", "4096", a, "one")
        run(tool, "bitmap", "--add", "--disable", a, "two")
        run(tool, "bitmap", "--add", b, "other")
        run("qemu-io", "-f", "qcow2", "-c", "write 64k 4k", "-c", "write 4M 1M", a)
        run("qemu-io", "-f", "qcow2", "-c", "write 7M 4k", b)
        run(tool, "bitmap", "--merge", "one", a, "two")
        run(tool, "bitmap", "--merge", "other", "-b", b, "-F", "qcow2", a, "two")
        run(tool, "bitmap", "--clear", a, "one")
        run(tool, "bitmap", "--enable", a, "two")
        run(tool, "bitmap", "--add", a, "three")
        run(tool, "bitmap", "--remove", a, "three")
        for wrong in (["--add", a, "one"], ["--remove", a, "none"], ["--merge", "none", a, "one"], [a, "one"], ["--clear", "-g", "4k", a, "one"]):
            run(tool, "bitmap", *wrong, ok=(1,))
        run(tool, "dd", "-f", "qcow2", "-O", "raw", "bs=64k", "skip=1", "count=9", f"if={a}", f"of={a}.dd")
    names = ["one", "two"]
    assert [marked(imgs[M][0], n) for n in names] == [marked(imgs["qemu-img"][0], n) for n in names]
    run("qemu-img", "check", imgs[M][0])
    theirs, ours = (json.loads(run("qemu-img", "info", "--output=json", imgs[t][0]))["format-specific"]["data"]["bitmaps"] for t in ("qemu-img", M))
    assert sorted(theirs, key=str) == sorted(ours, key=str), f"{theirs} {ours}"
    run("cmp", imgs[M][0] + ".dd", imgs["qemu-img"][0] + ".dd")


def texts(folder):
    """What both say about the same mistakes and facts, but for the name."""
    a = f"{folder}/t.qcow2"
    cases = [["create", "-f", "qcow2", a, "64M"], ["info", a], ["check", a], ["check", "--output=json", a], ["map", a],
             ["measure", "-O", "qcow2", "--size", "1G"], ["measure", "--output=json", "-O", "qcow2", a], ["resize", a, "128M"],
             ["resize", "--shrink", a, "-32M"], ["snapshot", "-l", a], ["compare", a, a], ["frob"], ["create", "-f", "qcow2", a],
             ["create", "-f", "qcow2", "-o", "cluster_size=3k", a, "1M"], ["measure", "-O", "qcow2", "-o", "cluster_size=4k", "--size", "10G"],
             ["create", "-f", "raw", f"{folder}/t.raw", "1M"], ["info", f"{folder}/t.raw"]]
    for case in cases:
        got = []
        for tool in ("qemu-img", M):
            p = subprocess.run([tool, *case], capture_output=True, text=True)
            text = (p.stdout + p.stderr).replace("menura-img", "qemu-img").replace("\n", " ")
            text = re.sub(r"file length: [^)]*\)|disk size: [^ ]* ...|\(hint[^)]*\)", "", text)
            got.append((p.returncode, text.strip()))
        assert got[0] == got[1], f"{case}:\n{got[0]}\n{got[1]}"


def main():
    need_peer("qemu-img", "qemu-io")
    cells = [(f"{n} made by {'us' if m == M else 'QEMU'}", feature, (n, m)) for n in FEATURES for m in (M, "qemu-img")]
    cells += [(f"packed {k} by {'us' if w == M else 'QEMU'}", packed, (k, w, r)) for k in ("zlib", "zstd") for w, r in ((M, "qemu-img"), ("qemu-img", M))]
    cells += [("chain " + str(i), chain, (m,)) for i, m in enumerate([(M,), (M, "qemu-img", M), ("qemu-img", M)])]
    cells += [(f"{f[0]} made by {'us' if m == M else 'QEMU'}", other_format, (*f, m)) for f in FORMATS for m in (M, "qemu-img")]
    cells += [("differencing vpc", differencing, ())]
    cells += [(f"vhdx log of {'us' if m == M else 'QEMU'}", replayed_log, (m,)) for m in (M, "qemu-img")]
    cells += [("bitmaps", bitmaps, ()), ("verbs of bitmaps", bitmap_verbs, ()), ("texts", texts, ())]
    run_cells(cells, sys.argv[2:])


if __name__ == "__main__":
    main()
