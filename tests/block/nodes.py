#!/usr/bin/env python3
"""nodes.py PROGRAM IMG: what may be changed of nodes in use, under a client that writes. PROGRAM is menura-storage or qemu-storage-daemon, IMG
its tool for images; both pass."""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdclient import Client  # noqa: E402
from qmpvm import Vm  # noqa: E402

PROGRAM, IMG = sys.argv[1:3]
SIZE = 8 << 20


def run(*args, ok=0):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240)
    assert p.returncode == ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


class Daemon(Vm):
    def __init__(self, d, *nodes, more=()):
        self.d, self.sock = d, f"{d}/sock"
        args = [x for n in nodes for x in ("--blockdev", json.dumps(n))]
        super().__init__(PROGRAM, argv=[PROGRAM, "--chardev", "stdio,id=m", "--monitor", "m", "--nbd-server", f"addr.type=unix,addr.path={self.sock}", *more, *args])

    def serve(self, node, name="d", writable=True, want=None):
        self.cmd("block-export-add", type="nbd", id=f"e-{name}", node_name=node, name=name, writable=writable)
        return Client(self.sock, name, SIZE, want)

    def reopen(self, *options):
        return self.cmd("blockdev-reopen", options=list(options))

    def refused(self, *options):
        return self.err("blockdev-reopen", options=list(options))

    def node(self, name):
        return next(n for n in self.cmd("query-named-block-nodes") if n["node-name"] == name)

    def quit(self):
        super().quit()
        os.unlink(self.sock) if os.path.exists(self.sock) else None


def file(name, path, **more):
    return {"driver": "file", "node-name": name, "filename": path, **more}


def create(path, fmt="qcow2", *more):
    run(IMG, "create", "-q", "-f", fmt, *more, path, str(SIZE))
    return path


def reopen(d):
    base, top, raw = create(f"{d}/base.qcow2"), f"{d}/top.qcow2", create(f"{d}/r.raw", "raw")
    other = create(f"{d}/other.raw", "raw")
    create(top, "qcow2", "-b", base, "-F", "qcow2")
    a = {"driver": "qcow2", "node-name": "a", "file": "af"}
    r = {"driver": "raw", "node-name": "r", "file": "rf"}
    b = {"driver": "qcow2", "node-name": "b", "file": {"driver": "file", "filename": base}, "read-only": True}
    af, rf = file("af", top), file("rf", raw)
    with Daemon(d, b, af, {**a, "backing": "b"}, rf, r, file("of", other)) as vm:
        c = vm.serve("a")
        c.churn(1)
        assert "backing is missing" in vm.refused(a)
        for wrong, says in [({**a, "backing": "nope"}, "nope"), ({**a, "backing": "a"}, "would create a cycle"), ({**a, "backing": "b", "frob": 1}, "frob"),
                            ({**a, "backing": "b", "node-name": "x"}, "node-name='x'"), ({**af, "filename": raw}, "filename"), ({**af, "read-only": True}, "cannot support read-write users"),
                            ({**a, "backing": "b", "read-only": True}, "cannot support read-write users"),
                            ({**a, "backing": "b", "detect-zeroes": "unmap"}, "without setting discard"), ({**r, "force-share": True}, "force-share")]:
            assert says in vm.refused(wrong), wrong
        for direct in (True, False, True):  # another descriptor below a client that writes
            vm.reopen({**af, "cache": {"direct": direct}})
            assert vm.node("af")["cache"]["direct"] == direct
            vm.reopen({**a, "backing": "b", "lazy-refcounts": direct})
        # all or none
        assert "nope" in vm.refused({**r, "read-only": True}, {**r, "node-name": "nope"})
        assert not vm.node("r")["ro"]
        vm.reopen({**a, "backing": "b", "discard": "unmap", "detect-zeroes": "unmap"}, {**r, "read-only": True})
        assert vm.node("r")["ro"] and vm.node("a")["detect_zeroes"] == "unmap"
        vm.reopen(r)
        assert not vm.node("r")["ro"] and vm.node("a")["detect_zeroes"] == "unmap"
        vm.reopen({**a, "backing": "b"})
        assert vm.node("a")["detect_zeroes"] == "off"
        c.quiet()
        # a window, and another file
        x = vm.serve("r", "r")
        x.write(4096, b"here" * 1024)
        vm.cmd("block-export-del", id="e-r", mode="hard")
        vm.event("BLOCK_EXPORT_DELETED")
        vm.reopen({**r, "offset": 4096, "size": 8192})
        assert vm.node("r")["image"]["virtual-size"] == 8192
        vm.reopen(r)
        vm.reopen({**r, "file": "of"})
        x = vm.serve("r", "r")
        assert x.read(4096, 4096) == bytes(4096)
        vm.cmd("block-export-del", id="e-r", mode="hard")
        vm.event("BLOCK_EXPORT_DELETED")
        vm.cmd("blockdev-del", node_name="rf")
        # without what is below, the layer alone is left; with it all is there again
        whole = c.read(0, SIZE)
        vm.reopen({**a, "backing": None})
        c.read(0, SIZE)
        vm.reopen({**a, "backing": "b"})
        assert c.read(0, SIZE) == whole
    run(IMG, "check", top)


def threshold(d):
    path = create(f"{d}/t.qcow2")
    with Daemon(d, file("tf", path), {"driver": "qcow2", "node-name": "t", "file": "tf"}) as vm:
        assert "nope" in vm.err("block-set-write-threshold", node_name="nope", write_threshold=1)
        vm.cmd("block-set-write-threshold", node_name="tf", write_threshold=1 << 20)
        assert vm.node("tf")["write_threshold"] == 1 << 20
        c = vm.serve("t")
        c.write(0, bytes([1]) * 65536)
        vm.cmd("query-version")
        assert not [e for e in vm.events if e["event"] == "BLOCK_WRITE_THRESHOLD"]
        for i in range(1, 20):
            c.write(i * 65536, bytes([i]) * 65536)
        e = vm.event("BLOCK_WRITE_THRESHOLD", node_name="tf")
        assert e["write-threshold"] == 1 << 20 and 0 < e["amount-exceeded"] <= 1 << 20, e
        for i in range(1, 40):
            c.write(i * 65536, bytes([i]) * 65536)
        assert vm.node("tf")["write_threshold"] == 0
        assert not [e for e in vm.events if e["event"] == "BLOCK_WRITE_THRESHOLD"]
        vm.cmd("block-set-write-threshold", node_name="tf", write_threshold=1 << 20)
        vm.cmd("block-set-write-threshold", node_name="tf", write_threshold=0)
        c.write(0, bytes(65536))
        c.quiet_now()


def amend(d):
    path = create(f"{d}/m.qcow2")
    with Daemon(d, {"driver": "qcow2", "node-name": "m", "file": {"driver": "file", "filename": path}}) as vm:
        assert "nope" in vm.err("x-blockdev-amend", job_id="j", node_name="nope", options={"driver": "qcow2"})
        vm.err("x-blockdev-amend", job_id="j", node_name="m", options={"driver": "raw"})
        if "qemu" in PROGRAM:  # it has only what is about encryption
            return
        c = vm.serve("m")
        c.churn(3)
        for lazy in (True, False, True):
            vm.cmd("x-blockdev-amend", job_id="j", node_name="m", options={"driver": "qcow2", "lazy-refcounts": lazy})
            vm.event("JOB_STATUS_CHANGE", status="concluded")
            assert "error" not in vm.cmd("query-jobs")[0]
            vm.cmd("job-dismiss", id="j")
        vm.cmd("x-blockdev-amend", job_id="j", node_name="m", options={"driver": "qcow2", "refcount-bits": 64})
        vm.event("JOB_STATUS_CHANGE", status="concluded")
        assert "error" in vm.cmd("query-jobs")[0]
        c.quiet()
    assert "lazy refcounts: true" in run(IMG, "info", path)
    run(IMG, "check", path)


def throttle(d):
    null = {"driver": "null-co", "size": SIZE, "read-zeroes": True}
    nodes = [{"driver": "throttle", "node-name": n, "throttle-group": "g", "file": null} for n in ("t1", "t2")]
    with Daemon(d, *nodes, more=["--object", "throttle-group,id=g,limits.iops-total=40"]) as vm:
        clients = [vm.serve("t1", "t1"), vm.serve("t2", "t2")]
        assert vm.cmd("qom-get", path="/objects/g", property="limits")["iops-total"] == 40
        assert "in use" in vm.err("object-del", id="g")
        begun = time.monotonic()
        work = [threading.Thread(target=lambda c=c: [c.read(i * 4096, 4096) for i in range(30)]) for c in clients]
        [t.start() for t in work]
        [t.join() for t in work]
        assert time.monotonic() - begun > 1, "60 requests at 40 a second, 4 of them at once"  # both have the limit together
        assert "total values" in vm.err("qom-set", path="/objects/g", property="limits", value={"iops-read": 3})
        assert vm.cmd("qom-get", path="/objects/g", property="limits")["iops-read"] == 0
        vm.cmd("qom-set", path="/objects/g", property="limits", value={"iops-total": 0, "bps-write": 1 << 20, "bps-write-max": 4 << 20, "bps-write-max-length": 2})
        begun = time.monotonic()
        for i in range(10):
            clients[0].write(0, bytes(1 << 20))
        assert time.monotonic() - begun > 1, "10 MiB at 4 MiB a second: a burst may last for 2 s"
        vm.cmd("qom-set", path="/objects/g", property="limits", value={"bps-write": 0, "bps-write-max": 0, "bps-write-max-length": 1})
        vm.cmd("object-add", qom_type="throttle-group", id="h", limits={"bps-total": 1 << 30})
        vm.reopen({**nodes[0], "throttle-group": "h", "file": {"driver": "null-co", "size": SIZE, "read-zeroes": True}})
        assert "does not exist" in vm.refused({**nodes[0], "throttle-group": "x", "file": null})
        vm.cmd("qom-set", path="/objects/h", property="limits", value={"bps-total": 1})
        for _ in range(0 if "qemu" in PROGRAM else 3):  # what waits for years does not keep it from ending (QEMU's it does)
            clients[0].c.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 9, 0, 1 << 20))
        vm.cmd("query-version")


def copy_on_read(d):
    base, top = create(f"{d}/base.raw", "raw"), f"{d}/top.qcow2"
    rng = random.Random(5)
    with open(base, "r+b") as f:
        f.write(rng.randbytes(SIZE))
    create(top, "qcow2", "-b", base, "-F", "raw")
    slow = {"driver": "raw", "file": {"driver": "file", "filename": base, "cache": {"direct": True}}}  # others run while it reads
    a = {"driver": "qcow2", "node-name": "a", "file": {"driver": "file", "filename": top}, "backing": slow}
    with Daemon(d, a, {"driver": "copy-on-read", "node-name": "c", "file": "a"}) as vm:
        writer = vm.serve("c", want=open(base, "rb").read())
        reader = vm.serve("c", "d2", want=b"-")
        for at in range(0, SIZE, 65536):  # while a piece comes up, some of it is written
            data, off = rng.randbytes(4096), at + rng.randrange(16) * 4096
            reader.send(0, at, 65536)
            writer.send(1, off, 4096, data)
            writer.want[off:off + 4096] = data
            assert writer.answer() == 0 and reader.answer() == 0
            reader.get(65536)
        writer.quiet_now()
    layers = json.loads(run(IMG, "map", "--output=json", top))
    assert all(x["depth"] == 0 for x in layers), layers


def preallocate(d):
    path = create(f"{d}/p.qcow2")
    step = {"prealloc-size": 4 << 20, "prealloc-align": 1 << 20}
    with Daemon(d, {"driver": "qcow2", "node-name": "a", "file": {"driver": "preallocate", **step, "file": {"driver": "file", "filename": path}}}) as vm:
        c = vm.serve("a")
        c.write(0, b"x" * 65536)
        size = os.path.getsize(path)
        assert size >= 4 << 20, size
        c.churn_for(1, 40)
        c.quiet_now()
        assert os.path.getsize(path) % (1 << 20) == 0
    assert os.path.getsize(path) % (1 << 20) != 0  # what was taken in advance is given back
    run(IMG, "check", path)


def compress(d):
    path = create(f"{d}/z.qcow2")
    with Daemon(d, {"driver": "compress", "node-name": "a", "file": {"driver": "qcow2", "file": {"driver": "file", "filename": path}}}) as vm:
        c = vm.serve("a")
        for i in range(8):
            c.write(i * 65536, b"abcd" * 16384)
        c.quiet_now()
    assert json.loads(run(IMG, "check", "--output=json", path))["compressed-clusters"] == 8
    with Daemon(d, {"driver": "raw", "node-name": "r", "file": {"driver": "null-co", "size": SIZE}}) as vm:
        assert "ompress" in vm.err("blockdev-add", driver="compress", node_name="x", file="r")


def faults(d):
    path = create(f"{d}/f.raw", "raw")
    rules = {"inject-error": [{"event": "write_aio", "iotype": "write", "errno": 28, "sector": 8, "once": True}, {"event": "read_aio", "state": 2, "errno": 5}],
             "set-state": [{"event": "flush_to_os", "state": 1, "new_state": 2}]}
    file = {"driver": "file", "filename": path}
    with Daemon(d, {"driver": "raw", "node-name": "a", "file": {"driver": "blkdebug", "image": file, **rules}}) as vm:
        c = vm.serve("a")
        assert c.ask(1, 4096, 4096, bytes(4096)) == 28  # ENOSPC
        assert c.ask(1, 4096, 4096, bytes(4096)) == 0  # once
        assert c.ask(0, 0, 512) == 0 and c.get(512)
        if "qemu" not in PROGRAM:  # its raw driver has no event for a flush
            assert c.ask(3, 0, 0) == 0
            assert c.ask(0, 0, 512) == 5
        assert vm.err("blockdev-add", driver="blkdebug", node_name="x", image="a", inject_error=[{"event": "frob"}])
    bad = create(f"{d}/g.raw", "raw")
    with open(bad, "r+b") as f:
        f.seek(5000)
        f.write(b"!")
    p = subprocess.Popen([PROGRAM, "--blockdev", json.dumps({"driver": "blkverify", "node-name": "v", "test": file, "raw": {"driver": "file", "filename": bad}}),
                          "--nbd-server", f"addr.type=unix,addr.path={d}/v", "--export", "nbd,id=e,node-name=v,name=d,writable=on", "--pidfile", f"{d}/pid"], stderr=subprocess.PIPE, text=True)
    while not os.path.exists(f"{d}/pid"):
        assert p.poll() is None
        time.sleep(0.01)
    c = None
    try:
        c = Client(f"{d}/v", "d", 4096)
        assert c.ask(1, 0, 4096, b"y" * 4096) == 0 and c.read(0, 4096) == b"y" * 4096
        c.read(4096, 4096)
        raise SystemExit("blkverify did not see the difference")
    except (AssertionError, OSError):
        pass
    assert p.wait(60) == 1 and "mismatch" in p.stderr.read()


def aio(d):
    def rings(vm):
        fds = f"/proc/{vm.p.pid}/fd"
        return sum("[io_uring]" in os.readlink(f"{fds}/{f}") for f in os.listdir(fds))

    for mode in ("threads", "io_uring", "native"):
        path = create(f"{d}/{mode}.qcow2")
        for direct in (True, False):
            f = {"driver": "file", "filename": path, "aio": mode, "cache": {"direct": direct}}
            if mode == "native" and not direct:
                with Daemon(d) as vm:
                    assert "requires cache.direct=on" in vm.err("blockdev-add", node_name="x", **f)
                continue
            with Daemon(d, {"driver": "qcow2", "node-name": "a", "file": f}) as vm:
                if "qemu" not in PROGRAM:
                    assert rings(vm) <= (mode != "threads")
                    print(f"{mode}: {rings(vm)} ring" + ("" if rings(vm) else "; threads do it"))
                clients = [vm.serve("a", "a"), vm.serve("a", "b")]
                clients[0].size = SIZE // 2  # each has a half of it
                clients[0].churn(1)
                for n in range(200):
                    clients[1].write(SIZE // 2 + random.Random(n).randrange(SIZE // 2 - 8192), bytes([n]) * 8192)
                clients[0].stop = True
                clients[0].t.join()
                assert not clients[0].failed
                want = clients[0].want[:SIZE // 2] + clients[1].want[SIZE // 2:]
                assert clients[1].ask(3, 0, 0) == 0 and clients[1].read(0, SIZE) == bytes(want)
        for depth in ("1", "7", "32", "300"):  # more than a ring has places; none may be forgotten
            run(IMG, "bench", "-w", "-i", mode, "-t", "none" if mode == "native" else "writeback", "-f", "qcow2", "-c", "3000", "-d", depth, "-S", "1052672", path)
        run(IMG, "check", path)


def vanished(d):
    """A server goes and comes again: requests in between fail (the guest's policy says what then), later ones do not."""
    path, sock = create(f"{d}/n.raw", "raw"), f"{d}/far"

    def server():
        if os.path.exists(sock):
            os.unlink(sock)
        if os.path.exists(f"{d}/pid"):
            os.unlink(f"{d}/pid")
        p = subprocess.Popen([PROGRAM, "--blockdev", f"driver=file,node-name=f,filename={path}", "--nbd-server", f"addr.type=unix,addr.path={sock}",
                              "--export", "nbd,id=e,node-name=f,name=d,writable=on", "--pidfile", f"{d}/pid"])
        while not os.path.exists(f"{d}/pid"):
            assert p.poll() is None
            time.sleep(0.01)
        return p

    far = server()
    with Daemon(d, {"driver": "nbd", "node-name": "a", "server": {"type": "unix", "path": sock}, "export": "d"}) as vm:
        c = vm.serve("a", want=bytes(SIZE))
        c.write(0, b"1" * 4096)
        assert c.ask(3, 0, 0) == 0
        for _ in range(3):
            far.kill()
            far.wait()
            assert c.ask(1, 4096, 4096, b"2" * 4096) == 5  # EIO
            far = server()
            end = time.monotonic() + 60
            while c.ask(1, 4096, 4096, b"2" * 4096):
                assert time.monotonic() < end, "it does not find the server again"
                time.sleep(0.05)
            c.want[4096:8192] = b"2" * 4096
            assert c.read(0, 8192) == bytes(c.want[:8192])
        c.want[:4096] = b"1" * 4096
        c.quiet_now()
    far.terminate()
    assert far.wait(60) == 0


def main():
    for part in (vanished, aio, reopen, threshold, amend, throttle, copy_on_read, preallocate, compress, faults):
        with tempfile.TemporaryDirectory(prefix="menura-nodes.", dir="/var/tmp") as d:
            part(d)
        print(part.__name__, flush=True)


main()
