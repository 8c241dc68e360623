#!/bin/bash
# uefi-linux.sh MENURA CPUS MACHINE [ARGS..] - the kernel of linux.sh, started by OVMF through fw_cfg.
for bios in /usr/share/ovmf/OVMF.fd /usr/share/qemu/OVMF.fd; do [ -f $bios ] && break; done
[ -f $bios ] || { echo "SKIP: no OVMF.fd (package ovmf)"; exit 77; }
# OVMF gives a port that can be hot-plugged less I/O space than a bridge decodes, in QEMU too, and Linux says so.
CLAIM= exec "$(dirname "$0")/linux.sh" "$1" "$2" '' -M "$3" -bios $bios "${@:4}"
