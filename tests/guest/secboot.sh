#!/bin/bash
# secboot.sh MENURA MENURA-IMG - Secure Boot on q35 with SMM and two processors: Debian by signed shim, GRUB and kernel is told that it is
# enabled; variables that it writes are there after a restart of the emulator; a changed kernel is refused by what the firmware
# trusts, an unsigned loader by the firmware itself, though the same firmware without keys starts it.
# The guest is made by tests/guests/make-secboot (root and some minutes: skipped where it is not there).
here=$(cd "$(dirname "$0")" && pwd)
menura=$1 img=$2 guests=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests} fw=/usr/share/OVMF
[ -s "$guests/text-secboot.img" ] || { echo "SKIP: no $guests/text-secboot.img (tests/guests/make-secboot makes it)"; exit 77; }
[ -s $fw/OVMF_VARS_4M.ms.fd ] || { echo "SKIP: no $fw/OVMF_VARS_4M.ms.fd (package ovmf)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
var=/sys/firmware/efi/efivars/MenuraKept-5a1e7d2c-97c4-4b0f-8f2b-3c6a9d1e0b57

boot() { # DISK FORMAT VARS STEPS..
  local disk=$1 format=$2 vars=$3
  shift 3
  "$here/../guests/expect-serial" --log "$work/log" --timeout 1500 "$@" -- "$menura" -M q35,smm=on -accel tcg -smp 2 -m 512 -display none -nic none \
    -global driver=cfi.pflash01,property=secure,value=on -drive if=pflash,format=raw,readonly=on,file=$fw/OVMF_CODE_4M.secboot.fd \
    -drive "if=pflash,format=raw,file=$work/$vars" -drive "file=$disk,format=$format" "${more[@]}" || exit 1
}
cp $fw/OVMF_VARS_4M.ms.fd "$work/keys.fd"
cp $fw/OVMF_VARS_4M.fd "$work/nokeys.fd"
more=()
"$img" create -q -f qcow2 -b "$guests/text-secboot.img" -F raw "$work/disk.qcow2" || exit 1

echo "== Debian, variables written"
boot "$work/disk.qcow2" qcow2 keys.fd --wait 'GUEST-READY text' --send 'mokutil --sb-state' --wait '^SecureBoot enabled' \
  --send "dmesg | grep -i 'secure boot\|locked down'; nproc" --wait 'Secure boot enabled' --wait '^2$' \
  --send "printf '\\007\\0\\0\\0kept over a restart' >$var; cat $var | tail -c +5; echo" --wait '^kept over a restart' \
  --send "efibootmgr -q -c -d /dev/sda -p 1 -L 'Menura entry' -l '\\\\EFI\\\\BOOT\\\\BOOTX64.EFI'; efibootmgr" --wait '^Boot0.*Menura entry' \
  --send poweroff --exit
echo "== a new process: they are there; then one byte of the kernel is changed"
boot "$work/disk.qcow2" qcow2 keys.fd --wait 'GUEST-READY text' --send "cat $var | tail -c +5; echo" --wait '^kept over a restart' \
  --send efibootmgr --wait '^Boot0.*Menura entry' --send 'mount LABEL=ESP /mnt && printf X | dd of=/mnt/vmlinuz bs=1 seek=1000000 conv=notrunc && umount /mnt && poweroff' --exit
echo "== it is refused"
boot "$work/disk.qcow2" qcow2 keys.fd --never 'GUEST-READY' --never 'Linux version' --wait 'bad shim signature' --qmp quit --exit

echo "== an unsigned loader"
PYTHONPATH=$here python3 -c 'import images, sys; sys.stdout.buffer.write(images.gpt(images.fat(images.efi_app("G"))))' >"$work/loader.img"
more=(-debugcon "file:$work/said" -device isa-debug-exit,iobase=0xf4)
boot "$work/loader.img" raw keys.fd --wait 'Access Denied|Security Violation' --qmp quit --exit
grep -aq G "$work/said" && { echo "FAIL: it ran"; exit 1; }
boot "$work/loader.img" raw nokeys.fd --exit 1
grep -aq G "$work/said" || { echo "FAIL: without keys it does not run either"; exit 1; }
echo "ok"
