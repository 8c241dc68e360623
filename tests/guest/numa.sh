#!/bin/bash
# numa.sh MENURA - Linux sees two nodes with a socket each; and passes its self-test there.
here=$(cd "$(dirname "$0")" && pwd)
dir=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
if ! [ -s "$dir/busybox.cpio.gz" ] || ! [ -s "$dir/vmlinuz-cloud" ]; then
  "$here/../guests/make-initrd" "$dir" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
timeout 400 "$1" -accel tcg -M q35 -smp 4,sockets=2,cores=1,threads=2 -m 512 -object memory-backend-ram,id=a,size=256M -object memory-backend-memfd,id=b,size=256M,share=on,prealloc=on \
  -numa node,memdev=a -numa node,memdev=b -numa dist,src=0,dst=1,val=21 -nodefaults -display none -serial "file:$out" -no-reboot \
  -kernel "$dir/vmlinuz-cloud" -initrd "$dir/busybox.cpio.gz" -append 'console=ttyS0 selftest' </dev/null || { echo "FAIL: status $?"; exit 1; }
n=0
for want in 'SRAT: PXM 0 -> APIC 0x01 -> Node 0' 'SRAT: PXM 1 -> APIC 0x02 -> Node 1' 'SRAT: Node 0 PXM 0 .mem 0x00100000-0x0fffffff' 'SRAT: Node 1 PXM 1 .mem 0x10000000-0x1fffffff' 'SELFTEST end ok'; do
  grep -aq "$want" "$out" || { echo "FAIL: the kernel does not say '$want'"; n=1; }
done
[ $n = 0 ] || grep -aE 'SRAT|SLIT|NUMA|SELFTEST' "$out"
exit $n
