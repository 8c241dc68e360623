#!/bin/bash
# shell.sh MENURA CPUS [MACHINE] - Debian's cloud kernel and our busybox initrd reach a shell; a checksum computed there is the
# host's; the kernel has nothing to say against the firmware's tables, and iasl accepts them as the guest sees them; power-off.
here=$(cd "$(dirname "$0")" && pwd) menura=$1 cpus=$2 machine=${3:-pc}
dir=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
command -v iasl >/dev/null || { echo "SKIP: no iasl (package acpica-tools)"; exit 77; }
if ! [ -s "$dir/busybox.cpio.gz" ] || ! [ -s "$dir/vmlinuz-cloud" ]; then
  "$here/../guests/make-initrd" "$dir" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# what a kernel says of firmware it does not like
bad='ACPI (BIOS )?(Error|Warning|Exception)|ACPI: .*(invalid|corrupt|incorrect checksum|bad checksum)|[Ff]irmware [Bb]ug|BIOS bug|mismatch|IO-?APIC.*(fail|error)|Calibration.*fail|spurious|nobody cared|mtrr: your CPUs'
n=$RANDOM$RANDOM
want=$(seq "$n" $((n + 30000)) | sha256sum | cut -c1-64)
"$here/../guests/expect-serial" --log "$work/log" --never 'Kernel panic' --never 'Oops' --timeout 400 \
  --wait 'GUEST-READY initrd' --wait '[#$] ' \
  --send 'A=SU; B=CPU; C=TABL; D=DMES' --send "echo \${A}M \$(seq $n $((n + 30000)) | sha256sum)" --wait "SUM $want" \
  --send "echo \${B}S \$(grep -c ^processor /proc/cpuinfo)" --wait "CPUS $cpus\$" \
  --send 'cd /sys/firmware/acpi/tables; for t in *; do [ -f $t ] && echo ${C}E $t && base64 $t; done; echo ${C}E end' --wait 'TABLE end' \
  --send 'dmesg | sed "s/^/${D}G /"; echo ${D}G-end' --wait 'DMESG-end' \
  --send 'poweroff -f' --exit 0 -- \
  "$menura" -M "$machine" -accel tcg -smp "$cpus" -m 512 -nodefaults -display none -no-reboot -kernel "$dir/vmlinuz-cloud" \
  -initrd "$dir/busybox.cpio.gz" -append 'console=ttyS0 quiet' </dev/null || { echo "FAIL: see above"; exit 1; }

tr -d '\r' <"$work/log" >"$work/text"
grep -aE "^DMESG " "$work/text" >"$work/dmesg"
[ "$(wc -l <"$work/dmesg")" -gt 100 ] || { echo "FAIL: dmesg did not arrive"; exit 1; }
if grep -aE "$bad" "$work/dmesg"; then echo "FAIL: the kernel complains about the firmware (above)"; exit 1; fi
mkdir "$work/tables" && cd "$work/tables" || exit 1
awk -v end=0 '/^TABLE end/ { exit } /^TABLE / { if (f) close(f); f = $2 ".b64"; next } f && /^[A-Za-z0-9+\/=]+$/ { print > f }' "$work/text"
for f in *.b64; do
  t=${f%.b64}
  base64 -d "$f" >"$t.dat" && iasl -d "$t.dat" >"$t.log" 2>&1 || { cat "$t.log"; echo "FAIL: iasl does not read $t"; exit 1; }
  if [ "$(head -c 4 "$t.dat")" = DSDT ] || [ "$(head -c 4 "$t.dat")" = SSDT ]; then
    iasl -ve -oa "$t.dsl" >"$t.log" 2>&1 || { cat "$t.log"; echo "FAIL: iasl does not compile $t again"; exit 1; }
  fi
  if grep -aE '^(Error|Warning)|Incorrect checksum|Invalid' "$t.log" "$t.dsl"; then echo "FAIL: iasl complains about $t (above)"; exit 1; fi
  echo "iasl accepts $t ($(stat -c %s "$t.dat") bytes)"
done
[ -f DSDT.dat ] && [ -f FACP.dat ] && [ -f APIC.dat ] || { echo "FAIL: tables are missing:" ./*; exit 1; }
