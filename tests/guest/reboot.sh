#!/bin/bash
# reboot.sh MENURA - each way in which a guest restarts a PC ends the program under -no-reboot, with status 0.
m=$1 n=0
rom=$(mktemp)
trap 'rm -f "$rom" "$rom.said"' EXIT
make_rom() { # CODE at the reset vector, as printf escapes; 16 bytes at most
  { head -c 65520 /dev/zero; printf "$1"; head -c 16 /dev/zero; } | head -c 65536 >"$rom"
}
try() { # NAME CODE [ARGS..]
  make_rom "$2"
  timeout 60 "$m" -M "$machine" -accel tcg -m 16 -nodefaults -display none -no-reboot -bios "$rom" "${@:3}" </dev/null 2>"$rom.said"
  local status=$?
  [ $status = 0 ] || { echo "FAIL: $machine, $1: status $status; $(head -3 "$rom.said")"; n=$((n + 1)); }
}
for machine in pc q35; do
  try 'keyboard controller' '\xb0\xfe\xe6\x64\xf4\xeb\xfd'         # mov al, 0xfe; out 0x64, al; hlt
  try 'port 92'             '\xb0\x01\xe6\x92\xf4\xeb\xfd'         # mov al, 1; out 0x92, al
  try 'reset control, soft' '\xba\xf9\x0c\xb0\x04\xee\xf4\xeb\xfd' # mov dx, 0xcf9; mov al, 4; out dx, al
  try 'reset control, hard' '\xba\xf9\x0c\xb0\x06\xee\xf4\xeb\xfd'
  try 'triple fault'        '\x2e\x0f\x01\x1e\x00\xf0\xcc'         # lidt cs:[0xf000]: limit 0; int3
done
[ $n = 0 ]
