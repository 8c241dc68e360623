"""cells.py - for tests of images beside QEMU's tools: a table of cells (name, function, arguments), each in a folder of its own."""
import re
import shutil
import subprocess
import sys
import tempfile


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def need_peer(*tools):
    """Skips without these of QEMU's tools, or when they are older than 10."""
    for tool in tools:
        if not shutil.which(tool):
            skip(f"{tool} is not installed (package qemu-utils)")
    version = int(re.search(r"version (\d+)", subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, timeout=120, check=True).stdout)[1])
    if version < 10:
        skip(f"qemu-img is of version {version}, older than 10")


def run_cells(cells, only):
    """Those whose name has one of `only` in it; all if there are none. Ends the program."""
    bad = 0
    for name, fn, args in cells:
        if only and not any(o in name for o in only):
            continue
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            try:
                fn(folder, *args)
                print(f"ok   {name}")
            except AssertionError as e:
                bad += 1
                print(f"FAIL {name}: {e}")
    sys.exit(bad > 0)
