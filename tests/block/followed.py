#!/usr/bin/env python3
"""followed.py MENURA MENURA-IMG: a disk with snapshots of the machine in a folder goes on in another image (a mirror that is completed, a layer put on
it): they are loaded into that one from then on, also by the next machine."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpvm import Vm  # noqa: E402
from wires import READ, WRITE, Machine, pattern, until  # noqa: E402

PROGRAM, IMG = sys.argv[1:3]


def machine(d, name, *more):
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": f"{d}/{name}"}}
    return Machine(PROGRAM, d, "virtio-blk", node, "stop", "device", ["-snapdir", f"{d}/snaps", *more])


def hmp(m, line):
    said = m.vm.cmd("human-monitor-command", command_line=line)
    assert not said.strip(), said


def look(m, lba, want):
    assert m.ask(READ, lba) is True and m.k.got() == pattern(want), (lba, m.k.got()[:4])


def back(m, tag, seen):
    hmp(m, f"loadvm {tag}")
    m.k.v.seen[0] = seen  # the driver goes back, too


def main(d):
    for name in "ab":
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", f"{d}/{name}", "8M"], check=True)
    with machine(d, "a") as m:
        vm, k = m.vm, m.driver()
        assert m.ask(WRITE, 0, pattern(1)) is True
        hmp(m, "savevm one")
        one = k.v.seen[0]
        assert m.ask(WRITE, 0, pattern(2)) is True
        vm.cmd("blockdev-add", driver="qcow2", node_name="b", file={"driver": "file", "filename": f"{d}/b"})
        vm.cmd("blockdev-mirror", job_id="j", device="d", target="b", sync="full", auto_dismiss=False)
        vm.event("JOB_STATUS_CHANGE", id="j", status="ready")
        vm.cmd("job-complete", id="j")
        vm.event("JOB_STATUS_CHANGE", id="j", status="concluded")
        assert "error" not in vm.cmd("query-jobs")[0]
        vm.cmd("job-dismiss", id="j")
        vm.cmd("blockdev-del", node_name="d")
        assert m.ask(WRITE, 8000, pattern(3)) is True
        look(m, 0, 2)
        back(m, "one", one)
        look(m, 0, 1)
        look(m, 8000, -1)
        vm.cmd("blockdev-snapshot-sync", node_name="b", snapshot_file=f"{d}/c", snapshot_node_name="c", format="qcow2")
        assert m.ask(WRITE, 0, pattern(9)) is True
        hmp(m, "savevm two")
        two = k.v.seen[0]
        back(m, "one", one)
        look(m, 0, 1)
        back(m, "two", two)
        look(m, 0, 9)
    with machine(d, "c", "-loadvm", "one") as m:
        until("state", lambda: True if m.vm.cmd("query-status")["running"] else None)
        m.resume(k)
        k.v.seen[0] = one
        look(m, 0, 1)
        back(m, "two", two)
        look(m, 0, 9)
    node = f"driver=qcow2,node-name=x,file.driver=file,file.filename={d}/c"
    with Vm(PROGRAM, "-snapdir", f"{d}/others", "-blockdev", node, "-device", "virtio-blk-pci,drive=x,share-rw=on") as vm:
        assert "share-rw" in vm.cmd("human-monitor-command", command_line="savevm no")
    for name in "abc":
        subprocess.run([IMG, "check", "-q", f"{d}/{name}"], check=True)


with tempfile.TemporaryDirectory(prefix="menura-followed.") as folder:
    main(folder)
print("ok")
