#!/bin/bash
# cli.sh MENURA - the command line: help, version, and mistakes that give one clear line and status 1.
m=$1 n=0
check() { # check STATUS TEXT args..
  local want=$1 text=$2 got
  shift 2
  got=$(timeout 20 "$m" "$@" 2>&1 </dev/null)
  local status=$?
  if [ $status != "$want" ] || ! grep -qF -- "$text" <<<"$got"; then
    echo "FAIL: $*: status $status (want $want), said: $got"
    n=$((n + 1))
  fi
}
check 0 'QEMU emulator version 10.0' -version
check 0 '-kernel FILE' -help
check 0 'pc-i440fx-10.0' -machine help
check 0 'qemu64' -cpu help
check 0 'isa-serial' -device help
check 0 'chardev' -device isa-serial,help
check 1 'there is no such option' -frobnicate
check 1 'there is no such machine' -machine nonsense
check 1 'no such CPU model' -accel tcg -cpu nonsense -display none
check 1 'no feature' -accel tcg -cpu qemu64,+nonsense -display none
check 1 'no such accelerator' -accel nonsense
check 1 'cannot find firmware' -accel tcg -display none -bios nowhere.bin
check 1 'nowhere.iso' -accel tcg -display none -cdrom nowhere.iso
check 1 '-m' -m 0
check 1 'not a valid device model' -accel tcg -display none -device nonsense
check 1 'no ISO, bootable disk' run /etc/passwd
check 1 'cannot open' run nowhere.img
img=$(mktemp)
head -c 510 /dev/zero >"$img"; printf '\x55\xaa' >>"$img"
check 0 '-drive' run --explain "$img"
rm -f "$img"
[ $n = 0 ]
