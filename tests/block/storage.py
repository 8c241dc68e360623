#!/usr/bin/env python3
"""storage.py MENURA-STORAGE MENURA-IMG: the command line and the monitor of menura-storage; of QEMU 10's program, too, where it is there."""
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpvm import Vm  # noqa: E402

F_OFD_SETLK = 37
STORAGE, IMG = (os.path.abspath(p) for p in sys.argv[1:3])


class Daemon(Vm):
    def __init__(self, program, *args):
        super().__init__(program, *args, argv=[program, "--chardev", "stdio,id=m", "--monitor", "m", *args])


def run(*args, ok=0, cwd=None):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240, cwd=cwd)
    assert p.returncode == ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def refused(program, d):
    node = "driver=file,node-name=n,filename=" + f"{d}/a.raw"
    for args, says in [(["--export", "nbd,id=x,node-name=y"], "Cannot find device='' nor node-name='y'"), (["foo"], "Unexpected argument"), (["--bar"], "unrecognized option"),
                       (["--monitor", "x"], 'chardev "x" not found'), (["--export", "frob,id=x,node-name=y"], "'frob'"), (["--object", "frob,id=x"], "frob"),
                       (["--blockdev", node, "--export", "nbd,id=x,node-name=n"], "NBD server not running"),  # the order counts
                       (["--blockdev", node, "--blockdev", node], "n"), (["--nbd-server", "addr.type=unix"], "path"), (["--nbd-server", "addr.type=frob"], "frob"),
                       (["--blockdev", node + ",frob=1"], "frob"), (["--pidfile", f"{d}/none/pid"], "pid")]:
        assert says in run(program, *args, ok=1), args


def shown(program):
    assert "--nbd-server" in run(program, "--help") and "--nbd-server" in run(program, "-h")
    assert re.search(r"\d+\.\d+", run(program, "--version")) and run(program, "-V") == run(program, "--version")
    assert "tls-creds-psk" in run(program, "--object", "help")
    assert "endpoint=" in run(program, "--object", "tls-creds-psk,help")
    assert run(program, "--chardev", "help") and run(program, "--help", "--frob")


def background(program, d):
    """The parent ends once it serves; a signal ends it, and then all is in the image."""
    for image in ("a.raw", "b.qcow2"):
        how = "qcow2" if image == "b.qcow2" else "raw"
        run(program, "--daemonize", "--pidfile", "pid", "--blockdev", json.dumps({"driver": how, "node-name": "n", "file": {"driver": "file", "filename": f"{d}/{image}"}}),
            "--nbd-server", "addr.type=unix,addr.path=s,max-connections=3", "--export", "type=nbd,id=e,node-name=n,name=disk,writable=on,allocation-depth=on", cwd=d)
        pid = int(open(f"{d}/pid").read())
        uri = f"nbd+unix:///disk?socket={d}/s"
        run(IMG, "bench", "-w", "-c", "64", "-f", "raw", "--pattern", "77", uri)
        os.kill(pid, signal.SIGTERM)
        end = time.time() + 60
        while os.path.exists(f"{d}/pid"):
            assert time.time() < end, "SIGTERM did not end it"
            time.sleep(0.01)
        run(IMG, "check", f"{d}/b.qcow2")
        if os.path.exists(f"{d}/s"):
            os.unlink(f"{d}/s")
    assert run(IMG, "compare", f"{d}/a.raw", f"{d}/b.qcow2")


def monitored(program, d):
    open(f"{d}/c.raw", "wb").truncate(1 << 20)
    with Daemon(program, "--blockdev", f"qcow2,node-name=b,file.driver=file,file.filename={d}/b.qcow2", "--blockdev", f"driver=file,node-name=c,filename={d}/c.raw") as vm:
        names = {c["name"] for c in vm.cmd("query-commands")}
        assert "blockdev-add" in names and "job-cancel" in names and not names & {"cont", "device_add", "query-status", "human-monitor-command", "system_reset"}
        assert "has not been found" in vm.err("query-status")
        schema = {e["name"] for e in vm.cmd("query-qmp-schema") if e["meta-type"] == "command"}
        assert schema == names
        assert vm.cmd("query-block") == []
        assert {n["node-name"] for n in vm.cmd("query-named-block-nodes")} >= {"b", "c"}
        vm.cmd("blockdev-mirror", job_id="j", device="b", target="c", sync="full")
        vm.event("BLOCK_JOB_READY")
        vm.cmd("job-complete", id="j")
        vm.event("BLOCK_JOB_COMPLETED")
        vm.cmd("block-dirty-bitmap-add", node="b", name="bm", disabled=True)
        vm.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": f"{d}/s2"}})
        vm.cmd("block-export-add", type="nbd", id="e", node_name="b", writable=True, bitmaps=["bm"])
        vm.cmd("block-export-del", id="e")
        vm.event("BLOCK_EXPORT_DELETED")
        vm.cmd("block-dirty-bitmap-enable", node="b", name="bm")
        assert "Enabled bitmap 'bm' incompatible with readonly export" in vm.err("block-export-add", type="nbd", id="e", node_name="b", bitmaps=["bm"])
        vm.cmd("blockdev-add", driver="null-co", node_name="ro", read_only=True)
        assert "Cannot export read-only node as writable" in vm.err("block-export-add", type="nbd", id="e", node_name="ro", writable=True)
        vm.cmd("blockdev-del", node_name="ro")
        vm.cmd("blockdev-del", node_name="c")
        vm.cmd("object-add", qom_type="tls-creds-anon", id="t", endpoint="server")
        vm.cmd("object-del", id="t")
        vm.quit()
        assert not [e for e in vm.events if e["event"] == "SHUTDOWN"]
    assert run(IMG, "compare", f"{d}/b.qcow2", f"{d}/c.raw")
    os.unlink(f"{d}/s2") if os.path.exists(f"{d}/s2") else None


def exclusive(program, d):
    """Two of one pid file, and two of one image."""
    with Daemon(program, "--blockdev", f"driver=file,node-name=a,filename={d}/a.raw", "--pidfile", f"{d}/pid", "--nbd-server", f"addr.type=unix,addr.path={d}/s3",
                "--export", "nbd,id=e,node-name=a,writable=on"):
        assert "pid" in run(program, "--pidfile", f"{d}/pid", ok=1)
        assert "lock" in run(IMG, "resize", "-f", "raw", f"{d}/a.raw", "2M", ok=1)
    os.unlink(f"{d}/s3") if os.path.exists(f"{d}/s3") else None


def patient(d):
    """Who was killed keeps its locks for as long as the kernel still writes for it: the next one waits that moment (block/filelock.c's byte 201 is
    held here). On a busy host the moment may be longer than anybody waits, so there are some tries."""
    for _ in range(5):
        with open(f"{d}/a.raw", "r+b") as f:
            fcntl.fcntl(f, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0))
            assert "lock" in run(IMG, "resize", "-f", "raw", f"{d}/a.raw", "2M", ok=1)
            waits = subprocess.Popen([IMG, "resize", "-f", "raw", f"{d}/a.raw", "2M"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.1)
        if waits.wait(60) == 0:
            return
    assert False, "refused at once"


def main():
    peer = shutil.which("qemu-storage-daemon")
    v = re.search(r"version (\d+)", run(peer, "--version")) if peer else None
    for program in [STORAGE] + ([peer] if v and int(v.group(1)) >= 10 else []):
        with tempfile.TemporaryDirectory(prefix="menura-sto.") as d:
            with open(f"{d}/a.raw", "wb") as f:
                f.write(os.urandom(300000))
                f.truncate(1 << 20)
            run(IMG, "convert", "-f", "raw", "-O", "qcow2", f"{d}/a.raw", f"{d}/b.qcow2")
            shown(program)
            refused(program, d)
            background(program, d)
            monitored(program, d)
            exclusive(program, d)
            patient(d)
        print(program, "ok", flush=True)


main()
