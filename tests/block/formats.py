#!/usr/bin/env python3
"""formats.py MENURA MENURA-IMG: images of each format as nodes of a machine: made by blockdev-create, opened, written,
described by query-named-block-nodes. With QEMU 10 installed its descriptions are compared with ours."""
import os
import shutil
import subprocess
import sys
import tempfile

from qmpvm import Vm

MENURA, IMG = sys.argv[1], sys.argv[2]
# driver, options of blockdev-create, and of menura-img's create
ROWS = [("vdi", {}, ""), ("vdi", {"preallocation": "metadata"}, "static=on"), ("vpc", {"force-size": True}, "force_size=on"),
        ("vpc", {"subformat": "fixed", "force-size": True}, "subformat=fixed,force_size=on"), ("vmdk", {}, ""),
        ("vmdk", {}, "subformat=twoGbMaxExtentFlat"), ("vmdk", {}, "subformat=streamOptimized"), ("vhdx", {}, ""),
        ("vhdx", {"block-size": 2 << 20, "log-size": 2 << 20}, "block_size=2M,log_size=2M"), ("qcow2", {}, "cluster_size=4k")]


def image_of(vm, node):
    image = next(n for n in vm.cmd("query-named-block-nodes", flat=True) if n["node-name"] == node)["image"]
    for moving in ("actual-size", "dirty-flag", "children", "backing-image"):
        image.pop(moving, None)
    image.get("format-specific", {}).get("data", {}).pop("bitmaps", None)
    return image


def write(vm, node):
    """What the file "full" has, over NBD, and read back."""
    vm.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": "sock"}})
    vm.cmd("block-export-add", id="e", type="nbd", node_name=node, name="e", writable=True)
    for verb in (["convert", "-n", "-O", "raw"], ["compare", "-F", "raw"]):
        subprocess.run([IMG, *verb, "-f", "raw", "full", "nbd+unix:///e?socket=sock"], check=True, stdout=subprocess.DEVNULL)
    vm.cmd("nbd-server-stop")


def create(vm, i, driver, options):
    name = f"made{i}"
    open(name, "w").close()
    vm.cmd("blockdev-add", driver="file", filename=name, node_name=f"f{i}")
    vm.cmd("blockdev-create", job_id="j", options={"driver": driver, "file": f"f{i}", "size": 8 << 20, **options})
    vm.event("JOB_STATUS_CHANGE", id="j", status="concluded")
    job = next(j for j in vm.cmd("query-jobs") if j["id"] == "j")
    assert "error" not in job, job
    vm.cmd("job-dismiss", id="j")
    vm.cmd("blockdev-add", driver=driver, file=f"f{i}", node_name=f"n{i}")
    assert image_of(vm, f"n{i}")["virtual-size"] == 8 << 20
    write(vm, f"n{i}")
    vm.cmd("blockdev-del", node_name=f"n{i}")
    vm.cmd("blockdev-del", node_name=f"f{i}")


def commit_into(i, driver):
    """A layer's bytes go into the image below, which was opened read-only and is written to for the while."""
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-b", f"img{i}", "-F", driver, f"top{i}"], check=True)
    vm = Vm(MENURA, "-blockdev", f"driver=qcow2,node-name=top,file.driver=file,file.filename=top{i},backing.node-name=below,backing.driver={driver},"
            f"backing.file.driver=file,backing.file.filename=img{i}", device=False)
    write(vm, "top")
    vm.cmd("block-commit", job_id="c", device="top", base_node="below")
    vm.event("BLOCK_JOB_READY", device="c")
    vm.cmd("block-job-complete", device="c")
    done = vm.event("BLOCK_JOB_COMPLETED", device="c")
    assert "error" not in done, done
    vm.quit()
    subprocess.run([IMG, "compare", "-f", driver, "-F", "raw", f"img{i}", "full"], check=True, stdout=subprocess.DEVNULL)
    print(f"ok   commit into {driver}")


def describe(program):
    args = []
    for i, (driver, _, _) in enumerate(ROWS):
        args += ["-blockdev", f"driver={driver},node-name=d{i},read-only=on,file.driver=file,file.filename=img{i}"]
    vm = Vm(program, *args, device=False)
    v = [image_of(vm, f"d{i}") for i in range(len(ROWS))]
    vm.quit()
    return v


def run_looks():
    """`menura run` knows each by its first bytes (which are all that there is, so it says what is wrong and ends)."""
    for driver, first in (("vhdx", b"vhdxfile"), ("vmdk", b"KDMV"), ("vpc", b"conectix")):
        with open("first", "wb") as f:
            f.write(first.ljust(4096, b"\0"))
        p = subprocess.run([MENURA, "run", "first"], capture_output=True, text=True, timeout=30)
        assert p.returncode == 1 and f"a disk image in {driver} format" in p.stderr, p.stderr
    print("ok   menura run")


def main():
    with open("full", "wb") as f:
        f.truncate(8 << 20)
        f.seek(3 << 20)
        f.write(b"nine" * 25600)
    for i, (driver, _, options) in enumerate(ROWS):
        subprocess.run([IMG, "create", "-q", "-f", driver, *(["-o", options] if options else []), f"img{i}", "8M"], check=True)
    run_looks()
    vm = Vm(MENURA, device=False)
    for i, (driver, options, _) in enumerate(ROWS):
        create(vm, i, driver, options)
        print(f"ok   {driver} {options}")
    vm.quit()
    ours, qemu = describe(MENURA), shutil.which("qemu-system-x86_64")
    assert ours[4]["format-specific"]["data"]["create-type"] == "monolithicSparse"
    if qemu and b"version 10." in subprocess.run([qemu, "--version"], capture_output=True).stdout:
        for row, a, b in zip(ROWS, ours, describe(qemu)):
            assert a == b, f"{row}:\n{a}\n{b}"
        print("ok   described as by QEMU")
    for i, (driver, _, options) in enumerate(ROWS):
        if "stream" not in options:
            commit_into(i, driver)


if __name__ == "__main__":
    MENURA, IMG = os.path.abspath(MENURA), os.path.abspath(IMG)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chdir(folder)
        try:
            main()
        finally:
            os.chdir("/")
