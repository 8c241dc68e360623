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
    vm.io(f"n{i}", "write -P 7 1M 200k")
    vm.io(f"n{i}", "read -P 7 1M 200k")
    vm.cmd("blockdev-del", node_name=f"n{i}")
    vm.cmd("blockdev-del", node_name=f"f{i}")


def describe(program):
    args = []
    for i, (driver, _, _) in enumerate(ROWS):
        args += ["-blockdev", f"driver={driver},node-name=d{i},read-only=on,file.driver=file,file.filename=img{i}"]
    vm = Vm(program, *args, device=False)
    v = [image_of(vm, f"d{i}") for i in range(len(ROWS))]
    vm.quit()
    return v


def main():
    for i, (driver, _, options) in enumerate(ROWS):
        subprocess.run([IMG, "create", "-q", "-f", driver, *(["-o", options] if options else []), f"img{i}", "8M"], check=True)
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


if __name__ == "__main__":
    MENURA, IMG = os.path.abspath(MENURA), os.path.abspath(IMG)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chdir(folder)
        try:
            main()
        finally:
            os.chdir("/")
