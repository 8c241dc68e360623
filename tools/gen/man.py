#!/usr/bin/env python3
"""man.py PAGE.in OPTIONS.def VERSION OUT - the manual page: its text, with the options from the table that parses them."""
import re
import sys

ROW = re.compile(r'\bO\("([^"]+)",\s*(NULL|"(?:[^"\\]|\\.)*"),\s*\w+,\s*"((?:[^"\\]|\\.)*)"\)')


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def option(dash, name, arg, text):
    what = f".B {dash}{escape(name)}" if arg == "NULL" else f".BI {dash}{escape(name)} \" {escape(arg[1:-1])}\""
    return f".TP\n{what}\n{escape(text)}."


def main():
    page, table, version, out = sys.argv[1:]
    source = open(table).read()
    rows = ROW.findall(source)
    if len(rows) != len(re.findall(r'\bO\("', source)):
        sys.exit(f"man.py: {table} has a row that is not understood")
    text = open(page).read().replace("@VERSION@", version)
    for mark, dash in ("@OPTIONS@", "\\-"), ("@LONG_OPTIONS@", "\\-\\-"):
        text = text.replace(mark, "\n".join(option(dash, *r) for r in rows))
    open(out, "w").write(text)


main()
