#!/usr/bin/env python3
"""jobs.py MENURA MENURA-IMG MENURA-NBD: block jobs, snapshots, bitmaps and transactions by the monitor, with a client that writes over NBD
meanwhile. `jobs.py QEMU qemu-img qemu-nbd` runs the same on QEMU."""
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdclient import PAGE, Client  # noqa: E402
from qmpvm import Vm  # noqa: E402

PROGRAM, IMG, NBD = sys.argv[1:4]
SIZE = 8 << 20


def run(*args, ok=0):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240)
    assert p.returncode == ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


class Case:
    def __init__(self, d, name):
        self.d, self.name, self.n = d, name, 0
        self.sock = f"{d}/{name}.sock"

    def path(self, what):
        return f"{self.d}/{self.name}-{what}"

    def image(self, what, fmt="qcow2", backing=None):
        p = self.path(what)
        run(IMG, "create", "-f", fmt, *(["-b", backing, "-F", "qcow2"] if backing else []), p, str(SIZE))
        return p

    def vm(self, *nodes):
        args = []
        for n in nodes:
            args += ["-blockdev", n]
        return Vm(PROGRAM, *args, device=False)

    def node(self, name, path, fmt="qcow2", more=""):
        return f"driver={fmt},node-name={name},file.driver=file,file.filename={path}{more}"

    def serve(self, vm, node):
        vm.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": self.sock}})
        vm.cmd("block-export-add", type="nbd", id="e", node_name=node, name="d", writable=True)
        return Client(self.sock, "d", SIZE)


def wait_end(vm, job, error=None):
    vm.event("JOB_STATUS_CHANGE", id=job, status="concluded")
    [j] = [j for j in vm.cmd("query-jobs") if j["id"] == job]
    assert j.get("error") == error or (error is True and "error" in j), j
    vm.cmd("job-dismiss", id=job)
    vm.event("JOB_STATUS_CHANGE", id=job, status="null")


def fill(path, seed):
    rng = random.Random(seed)
    raw = path + ".raw"
    with open(raw, "wb") as f:
        f.truncate(SIZE)
        for _ in range(30):
            f.seek(rng.randrange(SIZE // PAGE - 40) * PAGE)
            f.write(rng.randbytes(rng.choice([PAGE, 10 * PAGE])))
    run(IMG, "convert", "-n", "-f", "raw", "-O", "qcow2", raw, path)
    os.unlink(raw)


def raw_of(path, fmt="qcow2", backing=True):
    out = path + ".out"
    run(IMG, "convert", "-f", fmt, "-O", "raw", path, out)
    with open(out, "rb") as f:
        data = f.read()
    os.unlink(out)
    return data


def mirror(d):
    """Kept up while a client writes, then pivoted; the client does not notice; blocking and to NBD too."""
    for mode in ("background", "write-blocking"):
        c = Case(d, f"mirror-{mode}")
        a, b = c.image("a"), c.image("b")
        fill(a, mode)
        with c.vm(c.node("a", a), c.node("b", b)) as vm:
            k = c.serve(vm, "a")
            k.churn(1)
            assert "itself" in vm.err("blockdev-mirror", job_id="m", device="a", target="a", sync="full")
            vm.cmd("blockdev-mirror", job_id="m", device="a", target="b", sync="full", copy_mode=mode, auto_dismiss=False, speed=1 << 20)
            assert "cannot be completed" in vm.err("job-complete", id="m") or "cannot accept" in vm.err("job-complete", id="m")
            vm.cmd("block-job-set-speed", device="m", speed=0)
            while vm.cmd("query-block-jobs")[0]["status"] != "ready":
                k.stop = mode == "background"
            vm.event("BLOCK_JOB_READY", device="m", type="mirror")
            if k.stop:
                k.quiet()
                k.churn(2)
                vm.cmd("query-block-jobs")
                k.stop = True
            else:
                k.stop = True
            k.t.join()
            vm.cmd("job-complete", id="m")
            wait_end(vm, "m")
            k.quiet()
            k.churn(3)
            k.quiet()
            vm.cmd("nbd-server-stop")
            want = bytes(k.want)
        assert raw_of(b) == want
        run(IMG, "check", a)
        run(IMG, "check", b)


def mirror_nbd(d):
    """A device's disk moves to an NBD server; the machine ends while it is there."""
    for kind in ("blockdev", "drive"):
        c = Case(d, f"move-{kind}")
        a, b = c.image("a"), c.image("b")
        fill(a, kind)
        disk = ["-blockdev", c.node("a", a)] if kind == "blockdev" else ["-drive", f"file={a},if=none,id=a,format=qcow2"]
        server = subprocess.Popen([NBD, "-t", "-k", c.sock, "-f", "qcow2", b])
        try:
            while not os.path.exists(c.sock):
                time.sleep(0.02)
            with Vm(PROGRAM, *disk, "-device", "virtio-blk-pci,drive=a,id=vd") as vm:
                vm.cmd("blockdev-add", driver="nbd", node_name="t", server={"type": "unix", "path": c.sock})
                vm.cmd("blockdev-mirror", job_id="m", device="a", target="t", sync="full", auto_dismiss=False)
                vm.event("JOB_STATUS_CHANGE", id="m", status="ready")
                vm.cmd("job-complete", id="m")
                wait_end(vm, "m")
                [i] = [x["inserted"] for x in vm.cmd("query-block")]
                assert (i["node-name"], i["drv"]) == ("t", "nbd"), i
                if kind == "blockdev":
                    vm.cmd("blockdev-del", node_name="a")
                assert "in use" in vm.err("blockdev-del", node_name="t")
        finally:
            server.terminate()
            server.wait(60)
        assert raw_of(a) == raw_of(b)


def mirror_cancel(d):
    """A soft cancel leaves a complete copy; a hard one an error. Speed, pause."""
    c = Case(d, "cancel")
    a, b = c.image("a"), c.image("b")
    fill(a, 5)
    with c.vm(c.node("a", a), c.node("b", b)) as vm:
        vm.cmd("blockdev-mirror", job_id="m", device="a", target="b", sync="full", auto_dismiss=False, speed=1)
        vm.cmd("job-pause", id="m")
        vm.event("JOB_STATUS_CHANGE", id="m", status="paused")
        vm.cmd("job-resume", id="m")
        assert vm.cmd("query-block-jobs")[0]["speed"] == 1
        vm.cmd("block-job-cancel", device="m", force=True)
        vm.event("BLOCK_JOB_CANCELLED", device="m")
        wait_end(vm, "m", "Operation canceled")
        vm.cmd("blockdev-mirror", job_id="m", device="a", target="b", sync="full", auto_dismiss=False, speed=1)
        vm.cmd("block-job-set-speed", device="m", speed=0)
        vm.event("BLOCK_JOB_READY")
        vm.cmd("block-job-cancel", device="m")
        vm.event("BLOCK_JOB_COMPLETED", device="m")
        wait_end(vm, "m")
        vm.cmd("blockdev-del", node_name="b")
    assert raw_of(a) == raw_of(b)


def backup(d):
    """The disk as it was at the start, whatever the client writes meanwhile; then what changed since, by a bitmap."""
    c = Case(d, "backup")
    a, full, inc = c.image("a"), c.image("full"), c.path("inc")
    fill(a, 7)
    with c.vm(c.node("a", a), c.node("full", full)) as vm:
        k = c.serve(vm, "a")
        k.churn(1)
        k.quiet()
        then = bytes(k.want)
        vm.cmd("transaction", actions=[{"type": "block-dirty-bitmap-add", "data": {"node": "a", "name": "bm", "granularity": 4096, "persistent": True}},
                                       {"type": "blockdev-backup", "data": {"job-id": "b", "device": "a", "target": "full", "sync": "full", "auto-dismiss": False,
                                                                            "speed": 1 << 20}}])
        k.churn(2)
        vm.event("JOB_STATUS_CHANGE", id="b", status="running")
        vm.cmd("query-block-jobs")
        vm.cmd("block-job-set-speed", device="b", speed=0)
        wait_end(vm, "b")
        k.quiet()
        vm.cmd("blockdev-del", node_name="full")
        assert raw_of(full) == then
        run(IMG, "create", "-f", "qcow2", "-b", full, "-F", "qcow2", inc)
        vm.cmd("blockdev-add", driver="qcow2", node_name="inc", file={"driver": "file", "filename": inc}, backing=None)
        [n] = [n for n in vm.cmd("query-named-block-nodes") if n["node-name"] == "a"]
        [bm] = n["dirty-bitmaps"]
        assert bm["name"] == "bm" and bm["recording"] and bm["persistent"] and bm["granularity"] == 4096 and bm["count"] > 0, bm
        assert "bitmap" in vm.err("blockdev-backup", job_id="i", device="a", target="inc", sync="incremental")
        vm.cmd("blockdev-backup", job_id="i", device="a", target="inc", sync="incremental", bitmap="bm", auto_dismiss=False)
        k.churn(3)
        now = None
        wait_end(vm, "i")
        k.quiet()
        vm.cmd("blockdev-del", node_name="inc")
        vm.cmd("nbd-server-stop")
        assert now is None
    run(IMG, "check", a)
    run(IMG, "check", inc)
    info = run(IMG, "info", a)
    assert "name: bm" in info and "in-use" not in info, info


def backup_none(d):
    """sync=none: a scratch image shows the disk as it was while it changes (pull backup)."""
    c = Case(d, "none")
    a, s = c.image("a"), c.image("s")
    fill(a, 9)
    with c.vm(c.node("a", a), c.node("s", s, more=",backing=a")) as vm:
        k = c.serve(vm, "a")
        then = bytes(k.want)
        vm.cmd("blockdev-backup", job_id="n", device="a", target="s", sync="none", auto_dismiss=False)
        vm.cmd("block-export-add", type="nbd", id="old", node_name="s", name="old")
        k.churn(1)
        old = Client(c.sock, "old", SIZE)
        seen = bytes(old.want)
        for _ in range(3):
            assert old.read(0, SIZE) == seen == then, "the past changed"
        k.quiet()
        assert bytes(k.want) != then
        vm.cmd("block-job-cancel", device="n", force=True)
        wait_end(vm, "n", "Operation canceled")
        vm.cmd("nbd-server-stop")


def chain(d):
    """Snapshots under a client that writes; commit in the middle, of the active layer; stream."""
    c = Case(d, "chain")
    a = c.image("a")
    fill(a, 11)
    tops = [c.path(f"s{i}") for i in range(3)]
    with c.vm(c.node("a", a)) as vm:
        k = c.serve(vm, "a")
        node = "a"
        for i, t in enumerate(tops):
            k.churn(20 + i)
            vm.cmd("blockdev-snapshot-sync", node_name=node, snapshot_file=t, snapshot_node_name=f"n{i}", format="qcow2")
            node = f"n{i}"
            k.quiet()
        assert "not" in vm.err("blockdev-snapshot-sync", node_name="nowhere", snapshot_file=c.path("x"))
        k.churn(30)
        vm.cmd("block-commit", job_id="c", device="n2", top_node="n1", base_node="n0", auto_dismiss=False, auto_finalize=False, backing_file=tops[0])
        vm.event("JOB_STATUS_CHANGE", id="c", status="pending")
        vm.cmd("job-finalize", id="c")
        wait_end(vm, "c")
        k.quiet()
        k.churn(31)
        vm.cmd("block-commit", job_id="ac", device="n2", base_node="n0", auto_dismiss=False)
        k.stop = True
        vm.event("BLOCK_JOB_READY", device="ac", type="commit")
        vm.cmd("job-complete", id="ac")
        wait_end(vm, "ac")
        k.quiet()
        k.churn(32)
        vm.cmd("block-stream", job_id="s", device="n0", auto_dismiss=False)
        wait_end(vm, "s")
        k.quiet()
        vm.cmd("nbd-server-stop")
        want = bytes(k.want)
    assert "backing file:" not in run(IMG, "info", tops[0])
    run(IMG, "check", tops[0])
    assert raw_of(tops[0]) == want


def chain_blockdev(d):
    """libvirt's way: every layer is a node of its own."""
    c = Case(d, "nodes")
    a, t = c.image("a"), c.image("t")
    fill(a, 13)
    with c.vm(c.node("a", a)) as vm:
        k = c.serve(vm, "a")
        k.churn(1)
        with open(c.path("new"), "wb"):
            pass
        vm.cmd("blockdev-add", driver="file", node_name="newf", filename=c.path("new"))
        vm.cmd("blockdev-create", job_id="cr", options={"driver": "qcow2", "file": "newf", "size": SIZE, "cluster-size": 65536, "backing-file": a, "backing-fmt": "qcow2"})
        wait_end(vm, "cr")
        vm.cmd("blockdev-add", driver="qcow2", node_name="new", file="newf", backing=None)
        vm.cmd("transaction", actions=[{"type": "blockdev-snapshot", "data": {"node": "a", "overlay": "new"}}])
        k.quiet()
        k.churn(2)
        assert "aborted" in vm.err("transaction", actions=[{"type": "block-dirty-bitmap-add", "data": {"node": "new", "name": "x"}}, {"type": "abort", "data": {}}])
        assert "not found" in vm.err("block-dirty-bitmap-remove", node="new", name="x").lower()
        vm.cmd("block-commit", job_id="ac", device="new", top_node="new", base_node="a", auto_dismiss=False)
        k.stop = True
        vm.event("JOB_STATUS_CHANGE", id="ac", status="ready")
        vm.cmd("job-complete", id="ac")
        wait_end(vm, "ac")
        k.quiet()
        vm.cmd("blockdev-del", node_name="new")
        vm.cmd("blockdev-del", node_name="newf")
        k.churn(3)
        k.quiet()
        vm.cmd("nbd-server-stop")
        want = bytes(k.want)
    assert raw_of(a) == want
    run(IMG, "check", a)
    assert t


def chain_device(d):
    """The same of a disk that a device has, which lets nobody else write: what a commit writes below changes nothing for it."""
    c = Case(d, "device")
    a, tops = c.image("a"), [c.path(f"s{i}") for i in range(3)]
    fill(a, 15)
    want = raw_of(a)
    with Vm(PROGRAM, "-blockdev", c.node("a", a), "-device", "virtio-blk-pci,drive=a,id=vd") as vm:
        for i, t in enumerate(tops):
            vm.cmd("blockdev-snapshot-sync", node_name=f"n{i - 1}" if i else "a", snapshot_file=t, snapshot_node_name=f"n{i}", format="qcow2")
        vm.cmd("block-commit", job_id="c", device="n2", top_node="n1", base_node="n0", auto_dismiss=False)
        wait_end(vm, "c")
        vm.cmd("block-commit", job_id="ac", device="n2", base_node="a", auto_dismiss=False)
        vm.event("JOB_STATUS_CHANGE", id="ac", status="ready")
        more = c.path("s3")  # a layer while the commit has the image below
        assert "error" in vm.raw("blockdev-add", driver="qcow2", node_name="other", file={"driver": "file", "filename": a})
        vm.cmd("job-complete", id="ac")
        wait_end(vm, "ac")
        vm.cmd("blockdev-snapshot-sync", node_name="a", snapshot_file=more, snapshot_node_name="n3", format="qcow2")
        [b] = vm.cmd("query-block")
        assert b["inserted"]["node-name"] == "n3", b
    assert raw_of(more) == want
    for image in (a, more):
        run(IMG, "check", image)


def inside(d):
    """Snapshots in the image while a client writes; each is what the disk was."""
    c = Case(d, "inside")
    a, then = c.image("a"), {}
    fill(a, 17)
    with c.vm(c.node("a", a), "driver=raw,node-name=r,file.driver=null-co") as vm:
        assert "Cannot find device='x'" in vm.err("blockdev-snapshot-internal-sync", device="x", name="s")
        assert vm.err("blockdev-snapshot-internal-sync", device="r", name="s") == "Block format 'raw' used by device 'r' does not support internal snapshots"
        assert vm.err("blockdev-snapshot-internal-sync", device="a", name="") == "Name is empty"
        k = c.serve(vm, "a")
        for n in range(4):
            k.churn(n)
            k.quiet()
            then[f"s{n}"] = bytes(k.want)
            vm.cmd("blockdev-snapshot-internal-sync", device="a", name=f"s{n}")
        k.churn(9)
        for n in range(3):  # in the middle of it
            vm.cmd("blockdev-snapshot-internal-sync", device="a", name=f"m{n}")
        k.quiet()
        assert vm.err("blockdev-snapshot-internal-sync", device="a", name="s1") == "Snapshot with name 's1' already exists on device 'a'"
        assert "aborted" in vm.err("transaction", actions=[{"type": "blockdev-snapshot-internal-sync", "data": {"device": "a", "name": "t"}}, {"type": "abort", "data": {}}])
        vm.cmd("transaction", actions=[{"type": "blockdev-snapshot-internal-sync", "data": {"device": "a", "name": "u"}}])
        assert vm.err("blockdev-snapshot-delete-internal-sync", device="a") == "Name or id must be provided"
        assert vm.err("blockdev-snapshot-delete-internal-sync", device="a", name="t") == "Snapshot with id 'null' and name 't' does not exist on device 'a'"
        assert "does not exist" in vm.err("blockdev-snapshot-delete-internal-sync", device="a", id="1", name="s1")
        gone = vm.cmd("blockdev-snapshot-delete-internal-sync", device="a", name="s1")
        assert (gone["id"], gone["name"], gone["vm-state-size"]) == ("2", "s1", 0) and gone["date-sec"] > 1000000000, gone
        k.quiet()
        vm.cmd("nbd-server-stop")
    run(IMG, "check", a)
    for name in ("s0", "s2", "s3"):
        run(IMG, "convert", "-l", f"snapshot.name={name}", "-f", "qcow2", "-O", "raw", a, a + ".out")
        with open(a + ".out", "rb") as f:
            assert f.read() == then[name], name


def bitmaps(d):
    c = Case(d, "bitmaps")
    a = c.image("a")
    with c.vm(c.node("a", a)) as vm:
        def info():
            [n] = [n for n in vm.cmd("query-named-block-nodes") if n["node-name"] == "a"]
            return {b["name"]: b for b in n.get("dirty-bitmaps", [])}
        for name, more in (("keep", {"persistent": True}), ("gone", {}), ("off", {"persistent": True, "disabled": True, "granularity": 65536})):
            vm.cmd("block-dirty-bitmap-add", node="a", name=name, **more)
        assert "already exists" in vm.err("block-dirty-bitmap-add", node="a", name="keep")
        vm.err("block-dirty-bitmap-add", node="a", name="odd", granularity=1000)
        k = c.serve(vm, "a")
        k.write(0, b"x" * 512)
        k.write(1 << 20, b"y" * 65536)
        i = info()
        assert i["keep"]["count"] == 2 * 65536 and i["gone"]["count"] == 2 * 65536 and i["off"]["count"] == 0, i
        vm.cmd("block-dirty-bitmap-merge", node="a", target="off", bitmaps=["keep", {"node": "a", "name": "gone"}])
        assert info()["off"]["count"] == 2 * 65536
        vm.cmd("block-dirty-bitmap-clear", node="a", name="gone")
        vm.cmd("block-dirty-bitmap-disable", node="a", name="keep")
        k.write(2 << 20, b"z")
        i = info()
        assert i["gone"]["count"] == 65536 and i["keep"]["count"] == 2 * 65536 and not i["keep"]["recording"], i
        vm.cmd("block-dirty-bitmap-enable", node="a", name="off")
        vm.cmd("nbd-server-stop")
        vm.cmd("block-dirty-bitmap-add", node="a", name="short", persistent=True)
        vm.cmd("block-dirty-bitmap-remove", node="a", name="short")
    run(IMG, "check", a)
    with c.vm(c.node("a", a)) as vm:
        i = info()
        assert set(i) == {"keep", "off"} and i["keep"]["count"] == 2 * 65536 and i["off"]["recording"] and not i["keep"]["recording"], i
        vm.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": c.sock}})
        assert "Enabled bitmap 'off' incompatible with readonly export" in vm.err("block-export-add", type="nbd", id="e", node_name="a", bitmaps=["off"])
        vm.cmd("block-export-add", type="nbd", id="w", node_name="a", writable=True, bitmaps=["off"])
        vm.cmd("block-export-del", id="w")
        vm.cmd("block-export-add", type="nbd", id="e", node_name="a", bitmaps=["keep"])
        assert "qemu:dirty-bitmap:keep" in run(NBD, "-L", "-k", c.sock)
        assert info()["keep"]["busy"]
        assert "in use" in vm.err("block-dirty-bitmap-remove", node="a", name="keep")
        vm.cmd("nbd-server-stop")
        vm.cmd("block-dirty-bitmap-remove", node="a", name="keep")
        vm.cmd("block-dirty-bitmap-remove", node="a", name="off")
    run(IMG, "check", a)
    assert "granularity:" not in run(IMG, "info", a)


def main():
    only = sys.argv[4:]
    with tempfile.TemporaryDirectory(prefix="menura-jobs.") as d:
        for part in (bitmaps, mirror, mirror_nbd, mirror_cancel, backup, backup_none, chain, chain_blockdev, chain_device, inside):
            if not only or part.__name__ in only:
                part(d)
                print(f"ok {part.__name__}", flush=True)


main()
