#!/bin/bash
# floppy.sh MENURA - SeaBIOS boots a floppy: its boot sector loads the last sector of the medium, over the head and the
# far track, by the firmware's own driver, and what is there ends the emulator with a status of ours.
m=$1
bios=/usr/share/seabios/bios-256k.bin
[ -f $bios ] || { echo "SKIP: no $bios (package seabios)"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# sector FILE ORG-BYTES..: 512 bytes
boot() { # CYLINDER HEAD SECTOR of the payload, which comes to 0000:8000
  # mov ax,0201 / mov bx,8000 / mov cx,CYL:SEC / mov dh,HEAD (dl is the firmware's) / xor si,si; mov es,si / int 13 / jc $ / jmp 0:8000
  printf "\\x31\\xf6\\x8e\\xc6\\xb8\\x01\\x02\\xbb\\x00\\x80\\xb9\\x$(printf %02x "$3")\\x$(printf %02x "$1")\\xb6\\x$(printf %02x "$2")\\xcd\\x13\\x72\\xfe\\xea\\x00\\x80\\x00\\x00"
}
payload() { # STATUS: mov al,STATUS / mov dx,0501 / out dx,al / jmp $
  printf "\\xb0\\x$(printf %02x "$1")\\xba\\x01\\x05\\xee\\xeb\\xfe"
}
try() { # KIB TRACKS HEADS SECTORS STATUS
  local img=$dir/$1.img
  truncate -s "$1K" "$img"
  boot $(($2 - 1)) $(($3 - 1)) "$4" | dd of="$img" conv=notrunc status=none
  printf '\x55\xaa' | dd of="$img" bs=1 seek=510 conv=notrunc status=none
  payload "$5" | dd of="$img" bs=512 seek=$(($1 * 2 - 1)) conv=notrunc status=none
  timeout 60 "$m" -accel tcg -m 32 -nodefaults -display none -device isa-debug-exit -fda "$img" -boot a </dev/null
  local got=$?
  [ $got = $(($5 * 2 + 1)) ] || { echo "FAIL: floppy of $1 KiB: status $got, not $(($5 * 2 + 1))"; exit 1; }
  echo "ok: floppy of $1 KiB"
}
try 1440 80 2 18 21
try 720 80 2 9 22
try 1200 80 2 15 23
try 2880 80 2 36 24
