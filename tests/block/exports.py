#!/usr/bin/env python3
"""exports.py MENURA MENURA-NBD MENURA-IMG: nodes of a machine served over NBD."""
import os
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpvm import Vm  # noqa: E402

MENURA, NBD, IMG = sys.argv[1:4]


def run(*args, ok=0):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240)
    assert p.returncode == ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def client(path, export):
    """Somebody who has chosen an export and does nothing with it."""
    c = socket.socket(socket.AF_UNIX)
    c.settimeout(60)
    c.connect(path)
    c.recv(18, socket.MSG_WAITALL)
    c.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">III", 7, 6 + len(export), len(export)) + export + b"\0\0")
    while True:
        kind, n = struct.unpack(">II", c.recv(20, socket.MSG_WAITALL)[12:])
        c.recv(n, socket.MSG_WAITALL)
        if kind == 1:
            return c


def main():
    with tempfile.TemporaryDirectory(prefix="menura-exp.") as d:
        with open(f"{d}/a.raw", "wb") as f:
            f.write(os.urandom(300000))
            f.truncate(1 << 20)
        run(IMG, "create", "-f", "qcow2", f"{d}/b.qcow2", "1M")
        sock = f"{d}/s"
        uri = lambda name: f"nbd+unix:///{name}?socket={sock}"
        with Vm(MENURA, "-blockdev", f"driver=raw,node-name=a,file.driver=file,file.node-name=af,file.filename={d}/a.raw",
                "-blockdev", f"driver=qcow2,node-name=b,file.driver=file,file.filename={d}/b.qcow2") as vm:
            unix = {"type": "unix", "data": {"path": sock}}
            assert "not running" in vm.err("block-export-add", type="nbd", id="e", node_name="a")
            assert "not running" in vm.err("nbd-server-stop")
            assert vm.cmd("query-block-exports") == []
            vm.cmd("nbd-server-start", addr=unix)
            assert "already running" in vm.err("nbd-server-start", addr=unix)
            assert "node-name='x'" in vm.err("block-export-add", type="nbd", id="e", node_name="x")
            vm.cmd("block-export-add", type="nbd", id="ea", node_name="a", name="disk", writable=True, description="of a")
            vm.cmd("block-export-add", type="nbd", id="eaf", node_name="af")
            assert "in use" in vm.err("block-export-add", type="nbd", id="ea", node_name="b")
            assert "already has" in vm.err("block-export-add", type="nbd", id="eb", node_name="b", name="disk")
            vm.cmd("block-export-add", type="nbd", id="eb", node_name="b", writable=True, allocation_depth=True)
            assert {(e["id"], e["node-name"]) for e in vm.cmd("query-block-exports")} == {("ea", "a"), ("eaf", "af"), ("eb", "b")}
            listed = run(NBD, "-L", "-k", sock)
            assert "exports available: 3" in listed and "description: of a" in listed and "readonly" in listed
            run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", uri("disk"), uri("b"))
            run(IMG, "compare", "-f", "raw", "-F", "raw", uri("disk"), uri("b"))
            assert "in use" in vm.err("blockdev-del", node_name="b")
            vm.cmd("block-export-del", id="eb")
            assert vm.event("BLOCK_EXPORT_DELETED") == {"id": "eb"}
            assert "not found" in vm.err("block-export-del", id="eb")
            vm.cmd("blockdev-del", node_name="b")
            with client(sock, b"disk") as c:
                assert "still in use" in vm.err("block-export-del", id="ea")
                vm.cmd("block-export-del", id="ea", mode="hard")
                assert c.recv(1) == b""
                vm.event("BLOCK_EXPORT_DELETED", id="ea")
            vm.cmd("nbd-server-add", device="a", writable=True)
            vm.cmd("nbd-server-stop")
            vm.event("BLOCK_EXPORT_DELETED")
            vm.cmd("nbd-server-start", addr={"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}})
            vm.cmd("block-export-add", type="nbd", id="last", node_name="a")
        run(IMG, "compare", "-f", "raw", "-F", "qcow2", f"{d}/a.raw", f"{d}/b.qcow2")
    print("ok")


main()
