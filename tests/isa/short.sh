#!/bin/sh
# short.sh ARCHIVE: the machine code of short helpers touches general registers only, and calls nothing that might do otherwise.
set -e
code=$(objdump -d -r "$1")
if ! echo "$code" | grep -q '<target_short>:'; then echo "no code in $1"; exit 1; fi
if echo "$code" | grep -E '%([xyz]mm|st|mm[0-7]|k[0-7])|\b(f?xsave|ldmxcsr|emms)|call +\*|R_X86_64_(PLT32|GOTPCREL)'; then
    echo "^ short helpers must not do that"
    exit 1
fi
