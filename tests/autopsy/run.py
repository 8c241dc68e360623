#!/usr/bin/env python3
"""run.py MENURA [--least N] [--show] [CASE...]: kernels that die, each in its own way, and what is said about it.

Each case (cases/NAME.S) goes into kernel.S, is built with gcc and ld and booted by `MENURA run`; the first line of the
autopsy must match the case's `cause:`. --show prints the first lines; --least N: at least N causes must be right (all,
if it is not given). Exit status 77 when there is no compiler.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TRIPLE_FAULT = 66
LIMIT_S = 60
LONGEST_FIRST_LINE = 240


def cause_of(name):
    text = open(f"{HERE}/cases/{name}.S").read().split("*/")[0]
    return re.search(r"^ \* cause: (.*)$", text, re.M)[1]


def build(name, folder):
    subprocess.run([f"{HERE}/build", f"{HERE}/cases/{name}.S", f"{folder}/{name}"], check=True)
    return f"{folder}/{name}"


def boot(menura, image):
    """-> exit status, the autopsy's first line without its head, all of stderr"""
    try:
        r = subprocess.run([menura, "run", "--snapshot", image, "-accel", "tcg", "-display", "none"], stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=LIMIT_S, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return None, "(it did not die)", ""
    m = re.search(r"^menura: triple fault: (.*)$", r.stderr, re.M)
    return r.returncode, m[1] if m else "(no autopsy)", r.stderr


def check(menura, name, folder):
    cause = cause_of(name)
    status, first, report = boot(menura, build(name, folder))
    right = status == TRIPLE_FAULT and len(first) <= LONGEST_FIRST_LINE and bool(re.search(cause, first, re.I))
    return name, right, status, first, report


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("menura")
    p.add_argument("--least", type=int)
    p.add_argument("--show", action="store_true")
    p.add_argument("--report", action="store_true", help="print the whole report too")
    p.add_argument("case", nargs="*")
    a = p.parse_intermixed_args()
    if not shutil.which("gcc") or not shutil.which("ld"):
        print("SKIP: no gcc or ld")
        return 77
    names = a.case or sorted(f[:-2] for f in os.listdir(f"{HERE}/cases"))
    right = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, ok, status, first, report in pool.map(lambda n: check(a.menura, n, folder), names):
            right += ok
            if a.show or not ok:
                print(f"{'ok  ' if ok else 'MISS'} {name} (status {status}): {first}")
            if a.report:
                print(report)
    print(f"{right} of {len(names)} causes are right")
    return 0 if right >= (len(names) if a.least is None else a.least) else 1


sys.exit(main())
