#!/bin/bash
# linux.sh MENURA CPUS [TCG-OPTIONS [ARGS..]] - Debian's cloud kernel with our busybox initrd, entered directly: it tests itself and powers off.
# APPEND: more for the kernel's command line.
# The guest is made once from Debian's packages (tests/guests/make-initrd), in MENURA_GUESTS or the user's cache.
here=$(cd "$(dirname "$0")" && pwd)
dir=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
if ! [ -s "$dir/busybox.cpio.gz" ] || ! [ -s "$dir/vmlinuz-cloud" ]; then
  "$here/../guests/make-initrd" "$dir" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
timeout 400 "$1" -accel "tcg${3:+,$3}" -smp "$2" "${@:4}" -m 512 -nodefaults -display none -serial "file:$out" -no-reboot \
  -kernel "$dir/vmlinuz-cloud" -initrd "$dir/busybox.cpio.gz" -append "console=ttyS0 selftest ${APPEND:-}" </dev/null
status=$?
grep -aE 'SELFTEST|panic|BUG|WARNING|Power down' "$out"
grep -aq 'SELFTEST end ok' "$out" || { echo "FAIL: no SELFTEST end ok; the last lines:"; tail -20 "$out"; exit 1; }
grep -aE "ACPI (BIOS )?(Error|Warning)|ACPI Exception|Firmware Bug|\\[Firmware (Warn|Info)|${CLAIM-can.t claim|}BIOS bug" "$out" && { echo "FAIL: the kernel complains about the tables"; exit 1; }
[ $status = 0 ] || { echo "FAIL: status $status after power-off"; exit 1; }
