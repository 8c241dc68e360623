#!/bin/bash
# seabios.sh MENURA [ARGS..] - the firmware runs through its start to its boot attempts on the software CPU.
bios=/usr/share/seabios/bios-256k.bin
[ -f $bios ] || { echo "SKIP: no $bios (package seabios)"; exit 77; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
menura=$1
shift
timeout 60 "$menura" "$@" -accel tcg -m 128 -nodefaults -display none -debugcon none -chardev "file,id=log,path=$out" \
  -device isa-debugcon,iobase=0x402,chardev=log </dev/null &
pid=$!
for _ in $(seq 120); do
  grep -q 'Booting from' "$out" && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.5
done
kill $pid 2>/dev/null
wait $pid
status=$?
cat "$out"
grep -q 'SeaBIOS (version' "$out" && grep -q 'Found QEMU fw_cfg' "$out" && grep -q 'Booting from' "$out" || { echo "FAIL: not there"; exit 1; }
[ $status = 0 ] || { echo "FAIL: SIGTERM ended it with status $status, not 0"; exit 1; }
