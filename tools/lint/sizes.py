#!/usr/bin/env python3
"""sizes.py ROOT: functions of at most 60 lines, files of at most 600 (up to 650 it is only said).

A function is what starts with `{` and ends with `}` in column 0 after a line with `)`: the style that .clang-format keeps.
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layers  # noqa: E402

FUNCTION, FILE, FILE_ERROR = 60, 600, 650
HEAD = re.compile(r"^[A-Za-z_].*\)\s*$|^\s+.*\)\s*$")
NAME = re.compile(r"(\w+)\s*\(")


def functions(lines):
    """-> (name, first line, lines) for each function body"""
    start = None
    for i, line in enumerate(lines):
        if line.rstrip() == "{" and i and HEAD.match(lines[i - 1]):
            start = i
        elif line.startswith("}") and start is not None:
            first = start - 1
            while first and lines[first][:1].isspace():
                first -= 1
            name = NAME.search(lines[first])
            yield name[1] if name else "?", first + 1, i - start - 1
            start = None


def main():
    root, bad = sys.argv[1], []
    for path in sorted(layers.sources(root)):
        if path.endswith(".def"):
            continue
        lines = open(f"{root}/{path}").read().split("\n")
        if (count := len(lines) - 1) > FILE_ERROR:
            bad.append(f"{path}: {count} lines, at most {FILE}")
        elif count > FILE:
            print(f"{path}: {count} lines, more than {FILE}: divide it soon")
        bad += [f"{path}:{at}: {name}() has {n} lines, at most {FUNCTION}" for name, at, n in functions(lines) if n > FUNCTION]
    print("\n".join(bad) or "all sizes are kept")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
