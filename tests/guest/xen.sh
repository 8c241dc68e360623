#!/bin/bash
# xen.sh MENURA [OPTION...] - the Xen hypervisor with Linux as its first domain, from a CD by GRUB and multiboot 2, to that Linux's shell: it says where
# it runs, its real devices work (Xen hands them to the first domain only), and our self-test passes in it.
# The guest is made once from Debian's packages (tests/guests/make-xen), in MENURA_GUESTS or the user's cache.
here=$(cd "$(dirname "$0")" && pwd)
dir=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
"$here/../guests/make-xen" "$dir" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$here/../guests/expect-serial" --log "$log" --timeout 500 --never '(?s)Panic on CPU.{200}' --never 'Kernel panic' \
  --wait 'Xen version 4' --wait 'GUEST-READY initrd' --send 'cat /sys/hypervisor/type /sys/hypervisor/guest_type' --wait '^xen$' --wait '^PV$' \
  --send 'dmesg | grep "Xen version"' --wait 'Xen version: 4.*preserve' --send 'ip link set eth0 up; udhcpc -q -n -s /bin/udhcpc-script -i eth0; ping -c 2 10.0.2.2' --wait '2 packets received' \
  --send selftest --wait 'SELFTEST end ok' -- "$1" -m 512 -display none -cdrom "$dir/xen.iso" -nic user,model=e1000 "${@:2}" || exit 1
