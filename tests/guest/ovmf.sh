#!/bin/bash
# ovmf.sh MENURA MACHINE CODE [ARGS..] - UEFI firmware from flash reaches its shell; what it wrote to its variables is there
# the next time. Depends on no version: the shell's prompt on the serial port is all it looks for.
dir=/usr/share/OVMF
menura=$1 machine=$2 code=$dir/$3
shift 3
[ -f "$code" ] && [ -f $dir/OVMF_VARS_4M.fd ] || { echo "SKIP: no $code (package ovmf)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp $dir/OVMF_VARS_4M.fd "$work/vars.fd"
boot() { # LOG
  timeout 300 "$menura" -M "$machine" -accel tcg -m 256 -nodefaults -display none -vga std -serial "file:$1" \
    -drive "if=pflash,unit=0,format=raw,readonly=on,file=$code" -drive "if=pflash,unit=1,format=raw,file=$work/vars.fd" \
    "${args[@]}" </dev/null &
  local pid=$! status
  for _ in $(seq 560); do
    grep -aq 'Shell>' "$1" 2>/dev/null && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.5
  done
  kill $pid 2>/dev/null
  wait $pid
  status=$?
  grep -aq 'Shell>' "$1" || { echo "FAIL: no shell; the serial port said:"; tail -c 2000 "$1"; exit 1; }
  [ $status = 0 ] || { echo "FAIL: SIGTERM ended it with status $status, not 0"; exit 1; }
}
args=("$@")
boot "$work/first"
cmp -s $dir/OVMF_VARS_4M.fd "$work/vars.fd" && { echo "FAIL: nothing was written to the variables"; exit 1; }
# Boot0001 is the shell: the firmware made it on its first start.
grep -aqP 'B\x00o\x00o\x00t\x000\x000\x000\x00' "$work/vars.fd" || { echo "FAIL: no boot entry among the variables"; exit 1; }
cp "$work/vars.fd" "$work/after-first.fd"
boot "$work/second"
grep -aqP 'B\x00o\x00o\x00t\x000\x000\x000\x00' "$work/vars.fd" || { echo "FAIL: the boot entry is gone"; exit 1; }
echo "ok: $machine, $(basename "$code"): shell reached twice, variables kept"
