#!/usr/bin/env python3
"""banned.py ROOT: functions and habits that this project does not use, and names of places outside the repository."""
import os
import re
import sys


CODE = {
    r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca|system|popen|tmpnam|mktemp|setjmp)\s*\(":
        "has no bound, no error or no place here: use the g_ form, GString, parse functions of util/",
    r"\b(TODO|FIXME|XXX|HACK)\b": "an issue says it better",
    r"^\s*#\s*if\s+0\b": "dead code",
    r"\b(gettimeofday|time\s*\(\s*NULL|clock_gettime)\b": "time comes from the VM's clock or util's host_now()",
}
# the few files that are what the rule wants others to use; each with its reason
MAY = {
    "util/": {"clock_gettime"},            # host_now() itself
    "tests/": {"system", "popen"},         # tests start programs
    "ui/screendump.c": {"setjmp"},         # libpng's way to report errors
    "hw/timer/rtc.c": {"time"},            # the host's time zone, at start
}
ANYWHERE = {r"(?<![\w/.])/work/|\.\./shared\b": "a place outside the repository"}
SKIP = ("tools/lint/",)

def strip(text):
    """Code without comments and strings, its lines kept."""
    blank = lambda m: re.sub(r"[^\n]", " ", m[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)

def offences(path, text):
    code = path.endswith((".c", ".h"))
    for patterns, where in ((CODE if code else {}, strip(text) if code else ""), (ANYWHERE, text)):
        for pattern, why in patterns.items():
            for m in re.finditer(pattern, where, re.M):
                word = re.sub(r"\W.*", "", m[0].strip())
                if any(path.startswith(p) and word in words for p, words in MAY.items()):
                    continue
                yield f"{path}:{where.count(chr(10), 0, m.start()) + 1}: {m[0].strip()}: {why}"

def files(root):
    for folder, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if d != "__pycache__" and not os.path.exists(f"{folder}/{d}/meson-private")]
        for n in names:
            path = os.path.relpath(f"{folder}/{n}", root)
            if path.startswith((".git/",) + SKIP) or n == ".git" or n.endswith((".png", ".pyc")) or os.path.islink(f"{root}/{path}"):
                continue
            yield path

def main():
    root = sys.argv[1]
    bad = []
    for path in sorted(files(root)):
        try:
            bad += offences(path, open(f"{root}/{path}").read())
        except UnicodeDecodeError:
            continue  # not text
    print("\n".join(bad) or "nothing banned is used")
    return bool(bad)

if __name__ == "__main__":
    sys.exit(main())
