#!/usr/bin/env python3
"""policy.py MENURA MENURA-IMG MENURA-NBD [PART..]: what werror= and rerror= do about a request that fails, on each controller and without a guest: what
the guest is told, BLOCK_IO_ERROR with all its members, query-block's io-status, and `cont`, which tries again, also in another process after a migration
or a snapshot of the machine that stands. Full file systems, a server that goes, read-only images. `policy.py QEMU qemu-img qemu-nbd` runs the same on QEMU."""
import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wires import BUSES, FLUSH, READ, SECTOR, WRITE, Machine, pattern, until  # noqa: E402

PROGRAM, IMG, NBD = sys.argv[1:4]
PEER = "qemu" in os.path.basename(PROGRAM)
SIZE = 1 << 20
FAULTS = {"full": (WRITE, errno.ENOSPC, "write_aio"), "bad-write": (WRITE, errno.EIO, "write_aio"), "bad-read": (READ, errno.EIO, "read_aio"),
          "full-read": (READ, errno.ENOSPC, "read_aio"), "bad-flush": (FLUSH, errno.EIO, "flush_to_disk")}
POLICIES = ("auto", "report", "ignore", "stop", "enospc")
LBA = 8


def run(*args, ok=(0,)):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240)
    assert p.returncode in ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def expect(bus, policy, fault, way):
    """-> (action or None when nobody is told, whether errors could stop the machine)"""
    op, err, _ = FAULTS[fault]
    if bus == "nvme":
        if PEER:
            return None, False  # QEMU's has no policy: the guest gets each error, and nobody else
        way, policy = "drive", policy
    rerror = {"auto": "report", "enospc": "report" if way == "drive" else "enospc"}.get(policy, policy)
    werror = "enospc" if policy == "auto" else policy
    mine = rerror if op == READ else werror
    action = {"enospc": "stop" if err == errno.ENOSPC else "report"}.get(mine, mine)
    return action, rerror in ("stop", "enospc") or werror in ("stop", "enospc")


def cell(d, bus, policy, fault, way):
    op, err, event = FAULTS[fault]
    if bus == "nvme":
        way = "drive"  # its device has no such properties
    image = f"{d}/img"
    with open(image, "wb") as f:
        f.truncate(SIZE)
    rule = {"event": event, "iotype": op, "errno": err, "once": True, **({"sector": LBA} if op != FLUSH else {})}
    node = {"driver": "raw", "file": {"driver": "blkdebug", "image": {"driver": "file", "filename": image}, "inject-error": [rule]}}
    action, can_stop = expect(bus, policy, fault, way)
    with Machine(PROGRAM, d, bus, node, policy, way) as m:
        m.driver()
        assert m.ask(WRITE, 0, b"0" * SECTOR) is True
        assert m.block().get("io-status") == ("ok" if can_stop else None), m.block()
        got = m.ask(op, LBA, b"8" * SECTOR if op == WRITE else b"")
        stopped = {"status": m.vm.cmd("query-status")["status"], "io": m.block().get("io-status"), "got": got}
        want = {"status": "io-error" if action == "stop" else "running", "got": {"stop": None, "ignore": True}.get(action, False),
                "io": None if not can_stop else "ok" if action != "stop" else "nospace" if err == errno.ENOSPC else "failed"}
        assert stopped == want, f"{stopped}, not {want}"
        events = m.events()
        path = "/machine/peripheral/dev" + ("/virtio-backend" if bus == "virtio-blk" else "")
        data = {"qom-path": path, "device": "d" if way == "drive" else "", "node-name": m.block()["inserted"]["node-name"],
                "operation": "read" if op == READ else "write", "action": action, "reason": os.strerror(err), **({"nospace": err == errno.ENOSPC} if can_stop else {})}
        wanted = ([("BLOCK_IO_ERROR", data)] if action else []) + ([("STOP", None)] if action == "stop" else [])
        assert events == wanted, f"{events}, not {wanted}"
        if action == "stop":
            if op == READ and bus == "ide":
                m.vm.cmd("cont")
                assert until("data", m.k.state)
            else:
                assert m.cont() is True
            if not PEER or way == "drive":  # QEMU forgets the status of named drives only
                assert m.block()["io-status"] == "ok"
        if op == READ and got is not False:
            m.k.got()
        if op == WRITE:
            assert m.ask(READ, LBA) is True
            data = m.k.got()
            assert data == (b"8" if action == "stop" else b"\0") * SECTOR, data[:8]


def matrix(d):
    """Every policy, fault and bus, the policy said by the drive and by the device in turn."""
    for bus in BUSES:
        for i, policy in enumerate(POLICIES):
            for j, fault in enumerate(FAULTS):
                for way in ("drive", "device") if bus == "virtio-blk" else (("drive", "device")[(i + j) % 2],):
                    try:
                        cell(d, bus, policy, fault, way)
                    except AssertionError as e:
                        raise AssertionError(f"{bus}, {policy} by the {way}, {fault}: {e}") from e
        print(f"  {bus}", flush=True)


def raw(image, more=()):
    return {"driver": "raw", "file": {"driver": "blkdebug", "image": {"driver": "file", "filename": image}, "inject-error": list(more)}}


def moved(d):
    """The machine stands because of an error: saved, and gone on in another process, where the disk works. The request is made once more there."""
    for bus in [b for b in BUSES if not (PEER and b == "nvme")]:
        image, state = f"{d}/{bus}", f"{d}/{bus}.state"
        with open(image, "wb") as f:
            f.truncate(SIZE)
        with Machine(PROGRAM, d, bus, raw(image, [{"event": "write_aio", "iotype": "write", "errno": errno.ENOSPC, "sector": LBA}]), "stop") as m:
            k = m.driver()
            assert m.ask(WRITE, 0, pattern(0)) is True
            assert m.ask(WRITE, LBA, pattern(LBA)) is None
            assert m.cont() is None  # it is still full
            m.vm.cmd("migrate", uri=f"file:{state}")
            until("end", lambda: True if m.vm.cmd("query-migrate").get("status") in ("completed", "failed") else None)
            assert m.vm.cmd("query-migrate")["status"] == "completed", m.vm.cmd("query-migrate")
        with Machine(PROGRAM, d, bus, raw(image), "stop", more=["-incoming", f"file:{state}"]) as m:
            until("state", lambda: None if m.vm.cmd("query-status")["status"] == "inmigrate" else True)
            assert not m.vm.cmd("query-status")["running"], m.vm.cmd("query-status")
            m.resume(k)
            assert m.cont() is True
            for lba in (0, LBA):
                assert m.ask(READ, lba) is True and k.got() == pattern(lba), lba
        print(f"  {bus}", flush=True)


def saved(d):
    """The same by a snapshot of the machine in the image: loaded where it was made, and in another process."""
    for bus in [b for b in BUSES if not (PEER and b == "nvme")]:
        image = f"{d}/{bus}.qcow2"
        run(IMG, "create", "-q", "-f", "qcow2", image, str(SIZE))
        fault = {"event": "write_aio", "iotype": "write", "errno": errno.ENOSPC, "once": True}
        node = {"driver": "qcow2", "file": {"driver": "blkdebug", "image": {"driver": "file", "filename": image}}}
        bad = json.loads(json.dumps(node))
        bad["file"]["inject-error"] = [fault]
        with Machine(PROGRAM, d, bus, bad, "stop") as m:
            k = m.driver()
            assert m.ask(WRITE, LBA, pattern(LBA)) is None
            said = m.vm.cmd("human-monitor-command", command_line="savevm here")
            assert not said.strip(), said
            assert m.vm.cmd("query-status")["status"] == "io-error", m.vm.cmd("query-status")
            assert m.cont() is True
            assert m.ask(WRITE, LBA, pattern(99)) is True
        with Machine(PROGRAM, d, bus, node, "stop", more=["-loadvm", "here"]) as m:
            m.resume(k)
            if hasattr(k, "v"):
                k.v.seen = {q: n - (n == max(k.v.seen.values())) for q, n in k.v.seen.items()}
            if bus == "nvme":
                k.done, k.tail[1], k.head[1] = None, k.tail[1] - 1, k.head[1] - 2
            until("state", lambda: None if m.vm.cmd("query-status")["status"] in ("prelaunch", "restore-vm") else True)
            assert m.cont() is True
            assert m.ask(READ, LBA) is True and k.got() == pattern(LBA)
        run(IMG, "check", image)
        print(f"  {bus}", flush=True)


def often(d):
    """A guest that asks a broken disk again and again: the first error is told, those of the second after it as one."""
    image = f"{d}/img"
    with open(image, "wb") as f:
        f.truncate(SIZE)
    with Machine(PROGRAM, d, "virtio-blk", raw(image, [{"event": "read_aio", "iotype": "read", "errno": errno.EIO}]), "auto") as m:
        m.driver()
        for _ in range(20):
            assert m.ask(READ, LBA) is False
        assert len(m.events()) == 1, m.events()
        until("second event", lambda: True if len(m.events()) > 1 else None)
        time.sleep(1.5)
        assert len(m.events()) == 2, m.events()


# format, options, and how much room its first blocks take
FORMATS = {"raw": (), "qcow2": (), "qcow2-l2": ("extended_l2=on,cluster_size=128k",), "qcow2-data": ("data_file=DATA",), "vmdk": (), "vdi": (), "vpc": ("force_size=on",),
           "vhdx": ("block_size=1M,log_size=1M",), "qed": (), "parallels": ("cluster_size=64k",)}
STEP, FULL = 65536, 4 << 20


@contextlib.contextmanager
def small(folder, size):
    """A file system of that size, or None where we may not."""
    os.makedirs(folder)
    ok = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode == 0
    try:
        yield ok
    finally:
        if ok:
            subprocess.run(["umount", folder], check=True)


def room(folder):
    v = os.statvfs(folder)
    return v.f_bavail * v.f_bsize


def fill_up(d, name):
    fmt, options = name.split("-")[0], [o.replace("DATA", f"{d}/small/{name}.data") for o in FORMATS[name]]
    image = f"{d}/small/{name}"
    run(IMG, "create", "-q", "-f", fmt, *(["-o", options[0]] if options else []), image, str(8 << 20))
    ballast = []
    while room(f"{d}/small") > 200 << 10:
        ballast.append(f"{d}/small/ballast{len(ballast)}")
        with open(ballast[-1], "wb") as f:
            f.write(bytes(min(512 << 10, room(f"{d}/small") - (160 << 10))))
    stops = 0
    with Machine(PROGRAM, d, "virtio-blk", {"driver": fmt, "file": {"driver": "file", "filename": image}}, "auto") as m:
        m.driver()
        for at in range(0, FULL, STEP):
            got = m.ask(WRITE, at // SECTOR, pattern(at // SECTOR))
            while got is None:
                stops += 1
                assert m.block()["io-status"] == "nospace" and m.vm.cmd("query-status")["status"] == "io-error"
                os.unlink(ballast.pop())
                got = m.cont()
            assert got is True, at
        assert m.ask(FLUSH, 0) is True
        for at in range(0, FULL, STEP):
            assert m.ask(READ, at // SECTOR) is True and m.k.got() == pattern(at // SECTOR), at
    assert stops, "it never was full"
    if fmt not in ("raw", "vpc"):  # which have nothing that could be checked
        run(IMG, "check", "-f", fmt, image, ok=(0, 3))  # clusters may have been taken in vain
    for f in os.listdir(f"{d}/small"):
        os.unlink(f"{d}/small/{f}")
    return stops


def full(d):
    """The host's file system fills up under an image that grows; room is made in steps; nothing is lost, and the image is whole."""
    with small(f"{d}/small", "24m") as ok:
        if not ok:
            print("  skipped: no right to mount a small file system")
            return
        for name in FORMATS:
            if PEER and name in ("vmdk", "parallels"):
                continue  # QEMU's loses what it could not place at first; takes 128 MiB in advance
            try:
                print(f"  {name}: stood still {fill_up(d, name)} times", flush=True)
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from e


def vanished(d):
    """The disk is an NBD server that goes and comes again."""
    image, sock = f"{d}/img", f"{d}/nbd"
    with open(image, "wb") as f:
        f.truncate(SIZE)

    def server():
        if os.path.exists(sock):
            os.unlink(sock)
        p = subprocess.Popen([NBD, "-t", "-k", sock, "-f", "raw", image])
        until("server", lambda: True if os.path.exists(sock) else None)
        return p

    for delay in (0, 30):
        far = server()
        node = {"driver": "raw", "file": {"driver": "nbd", "server": {"type": "unix", "path": sock}, "reconnect-delay": delay}}
        try:
            with Machine(PROGRAM, d, "virtio-blk", node, "stop") as m:
                m.driver()
                for n in range(3):
                    assert m.ask(WRITE, LBA + n, pattern(n)) is True
                    assert m.ask(FLUSH, 0) is True
                    far.kill()
                    far.wait()
                    m.k.begin(WRITE, 64 + n, pattern(64 + n))
                    if delay:
                        time.sleep(0.3)
                        assert m.k.state() is None and m.vm.cmd("query-status")["running"]
                    else:
                        assert m.settle() is None and m.block()["io-status"] == "failed"
                        assert m.cont() is None  # there still is none
                    far = server()
                    end, got = time.monotonic() + 60, m.settle() if delay else None
                    while got is None:  # until it is found
                        assert time.monotonic() < end
                        got = m.cont()
                    assert got is True
                for n in range(3):
                    assert m.ask(READ, 64 + n) is True and m.k.got() == pattern(64 + n)
        finally:
            far.kill()
            far.wait()
        print(f"  reconnect-delay={delay}", flush=True)


def readonly(d):
    """A write to a disk that cannot be written: a virtio driver was told, and what it does all the same is an error like others; SCSI has an answer of its own,
    IDE disks cannot be read-only."""
    image = f"{d}/img"
    with open(image, "wb") as f:
        f.write(pattern(0) * 64)
    for bus in BUSES:
        node = {"driver": "raw", "read-only": True, "file": {"driver": "file", "filename": image}}
        if bus in ("ide", "ahci"):
            p = subprocess.run([PROGRAM, "-M", "pc", "-nodefaults", "-display", "none", "-accel", "tcg", "-blockdev", json.dumps({"node-name": "d", **node}), *BUSES[bus].args],
                               capture_output=True, text=True, timeout=60)
            assert p.returncode == 1 and "read-only" in p.stderr, p
            continue
        with Machine(PROGRAM, d, bus, node, "stop", "device" if bus != "nvme" else "drive") as m:
            m.driver()
            got = m.ask(WRITE, LBA, bytes(SECTOR))
            if bus == "virtio-blk":
                assert got is None and m.events()[0][1]["reason"] == "Operation not permitted", m.events()
                assert m.cont() is None
                continue
            assert got is False and m.events() == [], (got, m.events())
            assert m.ask(READ, LBA) is True and m.k.got() == pattern(0)
        print(f"  {bus}", flush=True)


def main():
    only = sys.argv[4:]
    for part in PARTS:
        if only and part.__name__ not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="menura-policy.") as d:
            part(d)
        print(f"ok {part.__name__}", flush=True)


PARTS = [often, readonly, moved, saved, vanished, full, matrix]
main()
