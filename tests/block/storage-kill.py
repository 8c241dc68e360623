#!/usr/bin/env python3
"""storage-kill.py MENURA-STORAGE MENURA-IMG ROUNDS: menura-storage is killed (SIGKILL) while clients write to qcow2 images.

One image has a writer of ours, who knows what was flushed: every block begins with its number and the number of the write. The
other is under fio (engine nbd), where there is one. After each kill `check` must find no corruption, `check -r leaks` must
leave nothing, and every block must hold a write that is not older than the last one flushed. Images go on from round to round.
"""
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

STORAGE, IMG, ROUNDS = sys.argv[1], sys.argv[2], int(sys.argv[3])
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
SIZE, BLOCK, SECTOR = 24 << 20, 4096, 512
BLOCKS = SIZE // BLOCK
KINDS = ["", "extended_l2=on", "cluster_size=4k,refcount_bits=64", "lazy_refcounts=on", "backing", "cluster_size=512", "data_file"]
WRITE, FLUSH, ZEROES = 1, 3, 6


def run(*args, ok=(0,)):
    """A moment longer than we wait ourselves, on a slow disk, the kernel may still write for the one that was killed."""
    for _ in range(50):
        p = subprocess.run(args, capture_output=True, text=True, timeout=240)
        if p.returncode == 0 or 'lock: another process' not in p.stderr:
            break
    assert p.returncode in ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout


class Writer:
    """Writes, zeroes and flushes without waiting for each other, until the server is gone."""

    def __init__(self, sock, model, rng):
        self.model, self.rng, self.handle, self.pending = model, rng, 0, {}
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(sock)
        self.get(18)
        self.s.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 1) + b"a")
        self.get(10)

    def get(self, n):
        b = self.s.recv(n, socket.MSG_WAITALL)
        if len(b) < n:
            raise ConnectionError
        return b

    def send(self, kind, off, length, data=b"", note=None):
        self.handle += 1
        self.pending[self.handle] = (kind, note)
        self.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, self.handle, off, length) + data)

    def write(self, busy):
        """Writes that overlap have no order: not two of them at a time."""
        n, count = self.rng.randrange(BLOCKS - 40), self.rng.choice([1, 1, 1, 2, 16, 40])
        if busy.intersection(range(n, n + count)):
            return
        zero = self.rng.random() < 0.1
        done = []
        for b in range(n, n + count):
            stamp = 0 if zero else self.model.next()
            self.model.begun[b].append(stamp)
            done.append((b, stamp))
        if zero:
            self.send(ZEROES, n * BLOCK, count * BLOCK, note=done)
        else:
            self.send(WRITE, n * BLOCK, count * BLOCK, b"".join(self.model.block(b, s) for b, s in done), done)

    def answer(self):
        magic, error, handle = struct.unpack(">IIQ", self.get(16))
        kind, note = self.pending.pop(handle)
        assert magic == 0x67446698 and not error, f"{kind} failed with {error}"
        if kind == FLUSH:
            self.model.flushed(note)
        else:
            self.model.answered(note)

    def go(self):
        try:
            while True:
                busy = {b for kind, note in self.pending.values() if kind != FLUSH for b, _ in note}
                if len(self.pending) < 12:
                    if self.rng.random() < 0.08:
                        self.send(FLUSH, 0, 0, note=self.model.snapshot())
                    else:
                        self.write(busy)
                if len(self.pending) >= 12 or select.select([self.s], [], [], 0)[0]:
                    self.answer()
        except (ConnectionError, BrokenPipeError, ConnectionResetError):
            return


class Model:
    """Of each block: what its content may be. The first is flushed, the others were written after it."""

    def __init__(self):
        self.serial = 0
        self.begun = [[0] for _ in range(BLOCKS)]  # in the order of their writing
        self.done = [0] * BLOCKS  # how many of begun are answered, less one

    def next(self):
        self.serial += 1
        return self.serial

    @staticmethod
    def block(b, stamp):
        return (struct.pack(">QQ", b, stamp) * (BLOCK // 16)) if stamp else bytes(BLOCK)

    def answered(self, note):
        for b, stamp in note:
            self.done[b] = max(i for i, s in enumerate(self.begun[b]) if s == stamp)

    def snapshot(self):
        return [self.begun[b][self.done[b]] for b in range(BLOCKS)]

    def flushed(self, snap):
        """What was answered before the flush was sent is what may be found at least."""
        for b in range(BLOCKS):
            if len(self.begun[b]) > 1 and snap[b] in self.begun[b]:
                i = self.begun[b].index(snap[b])
                del self.begun[b][:i]
                self.done[b] = max(0, self.done[b] - i)

    def check(self, path):
        with open(path, "rb") as f:
            for b in range(BLOCKS):
                data = f.read(BLOCK)
                found = next((s for s in reversed(self.begun[b]) if data == self.block(b, s)), None)
                self.begun[b] = self.torn(b, data) if found is None else [found]
                self.done[b] = 0  # of a torn one no more than the oldest part is sure

    def torn(self, b, data):
        """A write that was under way may be there in part: sectors of several."""
        parts = []
        for at in range(0, BLOCK, SECTOR):
            has = struct.unpack(">QQ", data[at:at + 16])
            assert has[1] in self.begun[b] and data[at:at + SECTOR] == self.block(b, has[1])[:SECTOR], f"block {b}+{at}: has {has}, may be one of {self.begun[b]}"
            parts.append(has[1])
        return [s for s in self.begun[b] if s in parts]


def node(name, path):
    return ["--blockdev", f"driver=qcow2,node-name={name},file.driver=file,file.filename={path},discard=unmap",
            "--export", f"nbd,id=e{name},node-name={name},name={name},writable=on"]


def check(path, lazy):
    if lazy:  # the counts of an image that was not closed are behind: opening it mends them, as -r all does
        run(IMG, "check", "-q", "-r", "all", path)
    run(IMG, "check", "-q", path, ok=(0, 3))
    run(IMG, "check", "-q", "-r", "leaks", path)
    run(IMG, "check", "-q", path)


def fio(sock, d, rng):
    if not shutil.which("fio"):
        return None
    return subprocess.Popen(["fio", "--name=load", "--thread", "--ioengine=nbd", f"--uri=nbd+unix:///b?socket={sock}", "--rw=randrw", "--rwmixread=20",
                             "--bsrange=4k-128k", "--iodepth=8", "--fsync=16", f"--randseed={rng.randrange(1 << 30)}", "--time_based", "--runtime=60",
                             "--output-format=terse"], cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def one(d, model, kind, rng):
    sock = f"{d}/s"
    if os.path.exists(sock):
        os.unlink(sock)
    p = subprocess.Popen([STORAGE, "--nbd-server", f"addr.type=unix,addr.path={sock}", *node("a", f"{d}/a.qcow2"), *node("b", f"{d}/b.qcow2"),
                          "--pidfile", f"{d}/pid"])
    end = time.time() + 60
    while not os.path.exists(f"{d}/pid"):
        assert p.poll() is None and time.time() < end, "menura-storage did not start"
        time.sleep(0.005)
    load = fio(sock, d, rng)
    w = Writer(sock, model, rng)
    killer = subprocess.Popen(["sh", "-c", f"sleep {rng.uniform(0.02, 0.25):.3f}; kill -9 {p.pid}"])
    w.go()
    assert p.wait(60) == -signal.SIGKILL and killer.wait(60) == 0
    if load:
        load.kill()
        load.wait(60)
    os.unlink(f"{d}/pid")
    for name in "ab":
        check(f"{d}/{name}.qcow2", "lazy" in kind)
    run(IMG, "convert", "-f", "qcow2", "-O", "raw", f"{d}/a.qcow2", f"{d}/a.raw")
    model.check(f"{d}/a.raw")


def create(d, name, kind):
    options = kind
    if kind == "data_file":
        options = f"data_file={d}/{name}.data"
    elif kind == "backing":
        run(IMG, "create", "-q", "-f", "raw", f"{d}/base.raw", str(SIZE))
        options = f"backing_file={d}/base.raw,backing_fmt=raw"
    run(IMG, "create", "-q", "-f", "qcow2", *(["-o", options] if options else []), f"{d}/{name}.qcow2", str(SIZE))


def main():
    rng = random.Random(SEED)
    print(f"SEED={SEED}" + ("" if shutil.which("fio") else "; no fio: its part is left out"))
    per = -(-ROUNDS // len(KINDS))
    done = 0
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="menura-kill.", dir="/var/tmp") as d:
            create(d, "a", kind)
            create(d, "b", kind)
            model = Model()
            for _ in range(min(per, ROUNDS - done)):
                one(d, model, kind, rng)
                done += 1
            print(f"{kind or 'plain'}: {done} kills, {model.serial} blocks written", flush=True)
    print("ok")


main()
