"""wires.py: the smallest drivers of disk controllers over the qtest protocol, for tests of disks without a guest. Each drives one disk: begin(op, lba, data)
starts a request of one sector, state() is None while it is under way, then True or False; got() is what a read brought. Machine: a machine with one of them."""
import json
import os
import socket
import struct
import time

from qmpvm import Vm

READ, WRITE, FLUSH = "read", "write", "flush"
SECTOR = 512
SLOT = 4  # of the PCI controllers
DATA, RING, QUEUES = 0x100000, 0x200000, 0x300000
IO, MMIO = 0xc000, 0xe0000000


class Wires:
    """The qtest socket: the program connects to it."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.listener.settimeout(60)

    def accept(self):
        self.s = self.listener.accept()[0]
        self.s.settimeout(60)
        self.f = self.s.makefile("r")

    def ask(self, line):
        self.s.sendall(line.encode() + b"\n")
        while True:
            answer = self.f.readline()
            assert answer, f"the machine ended at {line}"
            if not answer.startswith("IRQ"):
                assert answer.startswith("OK"), f"{line}: {answer}"
                return answer[2:].strip()

    def out(self, size, port, value):
        self.ask(f"out{'?bw?l'[size]} {port:#x} {value:#x}")

    def inp(self, size, port):
        return int(self.ask(f"in{'?bw?l'[size]} {port:#x}"), 0)

    def put(self, at, data):
        self.ask(f"write {at:#x} {len(data)} 0x{data.hex()}")

    def get(self, at, n):
        return bytes.fromhex(self.ask(f"read {at:#x} {n}")[2:])

    def put32(self, at, value):
        self.ask(f"writel {at:#x} {value:#x}")

    def get32(self, at):
        return int(self.ask(f"readl {at:#x}"), 0)

    def clock(self, ns):
        self.ask(f"clock_step {ns}")

    def pci(self, bar, at):
        """BAR, and decoding and bus mastering on."""
        for reg, value in ((0x10 + 4 * bar, at), (4, 7)):
            self.out(4, 0xcf8, 1 << 31 | SLOT << 11 | reg)
            self.out(4, 0xcfc, value)


def until(what, fn, limit=60):
    end = time.monotonic() + limit
    while (v := fn()) is None:
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.001)
    return v


class Legacy:
    """The queues of a legacy virtio device in I/O space."""

    def __init__(self, w):
        self.w = w
        w.pci(0, IO | 1)
        for status in (0, 1, 3):
            w.out(1, IO + 0x12, status)
        w.out(4, IO + 4, 0)
        self.size, self.seen = {}, {}

    def queue(self, n, at):
        self.w.out(2, IO + 14, n)
        self.size[n], self.seen[n] = self.w.inp(2, IO + 12), 0
        self.w.put(at, bytes(16384))
        self.w.out(4, IO + 8, at >> 12)
        self.w.out(1, IO + 0x12, 7)

    def areas(self, at, n):
        avail = at + 16 * self.size[n]
        return avail, (avail + 6 + 2 * self.size[n] + 4095) & ~4095

    def send(self, n, at, parts):
        """parts: (address, length, the device writes)"""
        avail = self.areas(at, n)[0]
        for i, (addr, length, writes) in enumerate(parts):
            self.w.put(at + 16 * i, struct.pack("<QIHH", addr, length, (i + 1 < len(parts)) | 2 * writes, i + 1))
        self.w.put(avail + 4 + 2 * (self.seen[n] % self.size[n]), bytes(2))
        self.seen[n] += 1
        self.w.put(avail + 2, struct.pack("<H", self.seen[n] & 0xffff))
        self.w.out(2, IO + 16, n)

    def used(self, n, at):
        return struct.unpack("<H", self.w.get(self.areas(at, n)[1] + 2, 2))[0] == self.seen[n] & 0xffff


class VirtioBlk:
    args = ["-device", f"virtio-blk-pci,id=dev,drive=d,addr={SLOT}"]
    takes = "virtio-blk-pci"

    def __init__(self, w):
        self.w, self.v = w, Legacy(w)
        self.v.queue(0, QUEUES)

    def begin(self, op, lba, data=b""):
        self.w.put(RING, struct.pack("<IIQB", {READ: 0, WRITE: 1, FLUSH: 4}[op], 0, lba, 0xee))
        self.w.put(DATA, data or bytes(SECTOR))
        self.v.send(0, QUEUES, [(RING, 16, False), *([(DATA, SECTOR, op == READ)] if op != FLUSH else []), (RING + 16, 1, True)])

    def state(self):
        return self.w.get(RING + 16, 1) == b"\0" if self.v.used(0, QUEUES) else None

    def got(self):
        return self.w.get(DATA, SECTOR)


class Scsi:
    args = ["-device", f"virtio-scsi-pci,id=hba,addr={SLOT}", "-device", "scsi-hd,id=dev,bus=hba.0,drive=d"]

    def __init__(self, w):
        self.w, self.v = w, Legacy(w)
        for n in range(3):
            self.v.queue(n, QUEUES + 0x8000 * n)
        for _ in range(2):  # unit attentions
            self.command(bytes(6), READ, 0)
            until("answer", self.state)

    def command(self, cdb, op, n):
        self.w.put(RING, b"\1\0" + bytes(6) + b"\7" + bytes(7) + bytes(3) + cdb.ljust(32, b"\0") + bytes(108))
        data = [(DATA, n, op == READ)] if n else []
        parts = [(RING, 51, False), *(data if op == WRITE else []), (RING + 51, 108, True), *(data if op == READ else [])]
        self.v.send(2, QUEUES + 0x10000, parts)

    def begin(self, op, lba, data=b""):
        self.w.put(DATA, data or bytes(SECTOR))
        self.command(struct.pack(">BBIBHB", {READ: 0x28, WRITE: 0x2a, FLUSH: 0x35}[op], 0, lba, 0, op != FLUSH, 0), op, SECTOR if op != FLUSH else 0)

    def state(self):
        if not self.v.used(2, QUEUES + 0x10000):
            return None
        return self.w.get(RING + 51 + 10, 2) == b"\0\0"

    got = VirtioBlk.got


class Ide:
    """Programmed I/O; what a write has is given after the drive asks for it."""
    args = ["-device", "ide-hd,id=dev,bus=ide.0,unit=0,drive=d"]

    def __init__(self, w):
        self.w = w

    def begin(self, op, lba, data=b""):
        w, self.op = self.w, op
        until("drive", lambda: None if w.inp(1, 0x1f7) & 0x80 else True)
        for i, v in enumerate([1, lba & 255, lba >> 8 & 255, lba >> 16 & 255, 0xe0]):
            w.out(1, 0x1f2 + i, v)
        w.out(1, 0x1f7, {READ: 0x20, WRITE: 0x30, FLUSH: 0xe7}[op])
        if op == WRITE:
            until("request for data", lambda: True if w.inp(1, 0x1f7) & 0x88 == 8 else None)
            for v in struct.unpack("<256H", data):
                w.out(2, 0x1f0, v)

    def state(self):
        s = self.w.inp(1, 0x1f7)
        if s & 0x80 or (self.op == READ and not s & 0x29):
            return None
        return not s & 0x21

    def got(self):
        return struct.pack("<256H", *[self.w.inp(2, 0x1f0) for _ in range(256)])


class Ahci:
    args = ["-device", f"ahci,id=hba,addr={SLOT}", "-device", "ide-hd,id=dev,bus=hba.0,drive=d"]
    PORT = MMIO + 0x100

    def __init__(self, w):
        self.w = w
        w.pci(5, MMIO)
        w.put32(MMIO + 4, 1 << 31)
        w.put32(self.PORT, RING)
        w.put32(self.PORT + 8, RING + 0x1000)
        w.put32(self.PORT + 0x18, 0x11)
        until("link", lambda: True if w.get32(self.PORT + 0x28) & 15 == 3 else None)

    def begin(self, op, lba, data=b""):
        w, n = self.w, op != FLUSH
        if w.get32(self.PORT + 0x38):  # an error halted the port: once more from the start
            w.put32(self.PORT + 0x18, 0x10)
            until("stop", lambda: None if w.get32(self.PORT + 0x18) & 0x8000 else True)
        w.put32(self.PORT + 0x10, 0xffffffff)
        w.put32(self.PORT + 0x30, 0xffffffff)
        w.put32(self.PORT + 0x18, 0x11)
        w.put(DATA, data or bytes(SECTOR))
        w.put(RING, struct.pack("<IIQ", 5 | (op == WRITE) << 6 | n << 16, 0, RING + 0x2000) + bytes(16))
        w.put(RING + 0x2000, struct.pack("<BBBBIIHH", 0x27, 0x80, {READ: 0x25, WRITE: 0x35, FLUSH: 0xea}[op], 0, lba | 0x40 << 24, 0, n, 0) + bytes(4))
        w.put(RING + 0x2080, struct.pack("<QII", DATA, 0, SECTOR - 1))
        w.put32(self.PORT + 0x38, 1)

    def state(self):
        status, busy = self.w.get32(self.PORT + 0x20), self.w.get32(self.PORT + 0x38)
        if status & 0x80:
            return None
        if status & 1:
            return False
        return None if busy else True

    got = VirtioBlk.got


class Nvme:
    args = ["-device", f"nvme,id=dev,serial=1,drive=d,addr={SLOT}"]

    def __init__(self, w):
        self.w = w
        w.pci(0, MMIO)
        self.tail, self.head = [0, 0], [0, 0]
        w.put(QUEUES, bytes(0x4000))
        w.put32(MMIO + 0x24, 15 << 16 | 15)
        for reg, v in ((0x28, QUEUES), (0x2c, 0), (0x30, QUEUES + 0x1000), (0x34, 0), (0x14, 4 << 20 | 6 << 16 | 1)):
            w.put32(MMIO + reg, v)
        until("controller", lambda: True if w.get32(MMIO + 0x1c) & 1 else None)
        for code, at in ((5, 0x3000), (1, 0x2000)):
            self.command(0, code, 0, QUEUES + at, 15 << 16 | 1, 1 if code == 5 else 1 << 16 | 1)
            assert until("queue", self.state)

    def command(self, q, code, nsid, prp, *dwords):
        self.q, self.done = q, None
        sq = QUEUES + 0x2000 * q
        self.w.put(sq + 64 * self.tail[q], struct.pack("<IIQQQQ6I", code, nsid, 0, 0, prp, 0, *dwords, *[0] * (6 - len(dwords))))
        self.tail[q] = (self.tail[q] + 1) % 16
        self.w.put32(MMIO + 0x1000 + 8 * q, self.tail[q])

    def begin(self, op, lba, data=b""):
        self.w.put(DATA, data or bytes(SECTOR))
        self.command(1, {READ: 2, WRITE: 1, FLUSH: 0}[op], 1, DATA, lba, 0, 0)

    def state(self):
        q = self.q
        if self.done is None:
            at = self.head[q]
            status = struct.unpack("<H", self.w.get(QUEUES + 0x1000 + 0x2000 * q + 16 * (at % 16) + 14, 2))[0]
            if status & 1 == at // 16 & 1:
                return None
            self.head[q] += 1
            self.w.put32(MMIO + 0x1004 + 8 * q, self.head[q] % 16)
            self.done = status >> 1 == 0
        return self.done

    got = VirtioBlk.got


BUSES = {"virtio-blk": VirtioBlk, "scsi": Scsi, "ide": Ide, "ahci": Ahci, "nvme": Nvme}


def pattern(lba):
    return (lba + 1).to_bytes(4, "little") * (SECTOR // 4)


def flat(key, v):
    """A tree of options in -drive's way."""
    if isinstance(v, (dict, list)):
        return [o for k, x in (v.items() if isinstance(v, dict) else enumerate(v)) for o in flat(f"{key}.{k}", x)]
    return [f"{key}={'on' if v is True else v}"]


class Machine:
    """One machine with one disk on that bus. way: the policy is said by the drive, or by the device of a -blockdev."""

    def __init__(self, program, d, bus, node, policy, way="drive", more=()):
        cls, self.bus, self.policy = BUSES[bus], bus, policy
        with open(f"{d}/rom", "wb") as f:
            f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))  # cli, hlt, jmp
        if os.path.exists(f"{d}/qtest"):
            os.unlink(f"{d}/qtest")
        self.w = Wires(f"{d}/qtest")
        said = f",werror={policy},rerror={policy}" if policy != "auto" else ""
        if way == "drive":
            if policy == "enospc":
                said = ",werror=enospc"
            disk = ["-drive", "if=none,id=d" + said + "".join("," + o for k, v in node.items() for o in flat(k, v)), *cls.args]
        else:
            disk = ["-blockdev", json.dumps({"node-name": "d", **node}), *cls.args[:-1], cls.args[-1] + said]
        self.vm = Vm(program, argv=[program, "-M", "pc", "-accel", "tcg", "-bios", f"{d}/rom", "-nodefaults", "-display", "none", "-m", "16", "-qmp", "stdio",
                                    "-qtest", f"unix:{d}/qtest", "-qtest-log", "none", *disk, *more])
        self.w.accept()

    def driver(self):
        self.k = BUSES[self.bus](self.w)
        return self.k

    def settle(self):
        """The request ended -> True, False; or the machine stopped -> None."""
        def ended():
            ok = self.k.state()
            if not self.vm.cmd("query-status")["running"]:
                return "stopped"
            return ok
        got = until("answer", ended)
        return None if got == "stopped" else got

    def ask(self, op, lba, data=b""):
        self.k.begin(op, lba, data)
        return self.settle()

    def block(self):
        [b] = [b for b in self.vm.cmd("query-block") if b.get("inserted", {}).get("node-name") not in (None, "state")]
        return b

    def cont(self):
        self.vm.cmd("cont")
        return self.settle()

    def events(self):
        self.vm.cmd("query-status")
        return [(e["event"], e.get("data")) for e in self.vm.events if e["event"] in ("BLOCK_IO_ERROR", "STOP", "RESUME")]

    def resume(self, k):
        """The driver of before, in this process: the guest's memory has its queues."""
        k.w = self.w
        if hasattr(k, "v"):
            k.v.w = self.w
        self.k = k

    def __enter__(self):
        self.vm.__enter__()
        return self

    def __exit__(self, *a):
        return self.vm.__exit__(*a)
