#!/bin/bash
# menu.sh MENURA IRQCHIP - under KVM the firmware shows its boot menu when Escape is pressed, with the interrupt controllers on, split or off.
bios=/usr/share/seabios/bios-256k.bin
[ -f $bios ] || { echo "SKIP: no $bios (package seabios)"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP: /dev/kvm cannot be opened"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/in"
timeout 280 "$1" -accel "kvm,kernel-irqchip=$2" -m 64 -nodefaults -display none -vga std -boot menu=on,splash-time=60000 -chardev "file,id=log,path=$dir/log" \
  -device isa-debugcon,iobase=0x402,chardev=log -monitor stdio <"$dir/in" >"$dir/out" 2>&1 &
pid=$!
exec 7>"$dir/in"
await() { # await TEXT: in the firmware's log
  for _ in $(seq 1200); do
    grep -q "$1" "$dir/log" 2>/dev/null && return
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
  done
  echo "FAIL: no '$1'"; cat "$dir/out"; tail -5 "$dir/log"
  kill $pid 2>/dev/null
  exit 1
}
await 'Press ESC'
sleep 1
echo 'sendkey esc' >&7 # one: a second would leave the menu
await 'Select boot device'
echo quit >&7
exec 7>&-
wait $pid
status=$?
tail -4 "$dir/log"
[ $status = 0 ] || { echo "FAIL: status $status after quit"; exit 1; }
