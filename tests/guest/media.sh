#!/bin/bash
# media.sh MENURA NAME [OPTION...] - boot media of other people to where they wait for somebody (tests/guests/get-media): NAME is
# memtest (a minute of it without an error, read from the screen), grub-bios, grub-uefi, ipxe-bios, ipxe-uefi, efi-shell (typed into).
here=$(cd "$(dirname "$0")" && pwd)
menura=$1 name=$2
shift 2
guests=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests} media=$guests/media tools=$here/../guests ovmf=/usr/share/OVMF
[ -d "$media" ] || "$tools/get-media" "$guests" || { echo "SKIP: the media cannot be had here (see above)"; exit 77; }
[[ $name != *uefi && $name != efi-shell ]] || [ -f $ovmf/OVMF_CODE_4M.fd ] || { echo "SKIP: no $ovmf/OVMF_CODE_4M.fd (package ovmf)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAIL: $*"
  exit 1
}

run() { # STEP... -- ARG...
  local steps=()
  while [ "$1" != -- ]; do steps+=("$1") && shift; done
  "$tools/expect-serial" --log "$work/log" --timeout 900 "${steps[@]}" -- "$menura" -m 256 -display none "${more[@]}" "${@:2}" || fail "see above"
}
more=("$@")
uefi() {
  cp $ovmf/OVMF_VARS_4M.fd "$work/vars.fd"
  more+=(-M q35 -drive if=pflash,format=raw,readonly=on,file=$ovmf/OVMF_CODE_4M.fd -drive "if=pflash,format=raw,file=$work/vars.fd")
}

key() { # QCODE...: at the same time
  local k=("${@/#/\{\"type\":\"qcode\",\"data\":\"}")
  k=("${k[@]/%/\"\}}")
  printf '{"execute":"send-key","arguments":{"keys":[%s]}}' "$(IFS=, && echo "${k[*]}")"
}
ctrl_b=(--qmp "$(key ctrl b)") keys=()
for k in d h c p ret; do keys+=(--qmp "$(key $k)"); done

case $name in
  memtest) # its own clock says how long it tested
    run --screen 'Memtest86\+' --screen 'Time: *0:0[1-9]:' --screenshot "$work/screen.png" --qmp quit --exit -- -m 64 -cdrom "$media/memtest86+x64.iso"
    "$tools/ocr-screen" --text "$work/screen.png" 'Errors: *0 ' || fail "there are errors"
    ;;
  grub-bios) run --wait 'GUEST-READY grub pc i386' --send-raw c --wait 'grub> ' --send 'echo $grub_cpu; lspci' --wait '^i386' --wait '00:00\.0' -- -cdrom "$media/grub-rescue.iso" ;;
  grub-uefi)
    uefi
    run --wait 'GUEST-READY grub efi x86_64' --send-raw c --wait 'grub> ' --send 'echo $grub_cpu; lspci' --wait 'x86_64' --wait '00:00\.0' -- -cdrom "$media/grub-rescue.iso"
    ;;
  ipxe-bios) # Ctrl-B at its banner is its shell, which asks the card for an address
    run --screen 'Open Source Network Boot' "${ctrl_b[@]}" --screen 'iPXE>' "${keys[@]}" --screen 'Configuring.*ok' --qmp quit --exit -- \
      -cdrom "$media/ipxe.iso" -nic user,model=e1000
    ;;
  ipxe-uefi)
    uefi
    run --wait 'Open Source' --send-raw '\x02' --wait 'iPXE> ' --send dhcp --wait 'ok' --send 'show net0/ip' --wait '10\.0\.2\.15' -- \
      -cdrom "$media/ipxe.iso" -nic user,model=e1000
    ;;
  efi-shell)
    uefi
    run --wait 'Shell> ' --sleep 2 --send 'echo typed into %uefishellversion%' --wait '^typed into [0-9.]+' --send memmap \
      --wait 'Conventional|Available' --send 'reset -s' --exit -- -nic none
    ;;
  *) fail "what is $name?" ;;
esac
echo "ok: $name"
