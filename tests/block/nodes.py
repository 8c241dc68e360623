#!/usr/bin/env python3
"""nodes.py PROGRAM IMG: what may be changed of nodes in use, under a client that writes. PROGRAM is menura-storage or qemu-storage-daemon, IMG
its tool for images; both pass."""
import json
import os
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

    def serve(self, node, name="d", writable=True):
        self.cmd("block-export-add", type="nbd", id=f"e-{name}", node_name=node, name=name, writable=writable)
        return Client(self.sock, name, SIZE)

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


def main():
    for part in (reopen, threshold, amend, throttle):
        with tempfile.TemporaryDirectory(prefix="menura-nodes.", dir="/var/tmp") as d:
            part(d)
        print(part.__name__, flush=True)


main()
