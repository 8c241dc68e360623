#!/bin/bash
# disks.sh MENURA - Linux with our busybox initrd and a disk on each bus: every one is read whole, then written with what the one before
# held, with a flush; the images on the host must agree. Odd sizes, a second namespace, blocks of 4 KiB, logical and physical.
here=$(cd "$(dirname "$0")" && pwd)
guests=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
kernel=$guests/vmlinuz
if ! [ -s "$guests/busybox.cpio.gz" ] || ! [ -s "$kernel" ]; then
  "$here/../guests/make-initrd" "$guests" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
fi
dir=$(mktemp -d)
vm=''
trap '[ -n "$vm" ] && kill $vm 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT

# id, device, what the guest calls it
disks='ide ide-hd,bus=ide.0,drive=ide $(sd 00:01.1)
ahci ide-hd,bus=ahci.1,drive=ahci,physical_block_size=4096 $(sd 0[2-9].0/ata)
nvme nvme,drive=nvme,serial=one $(ctrl one)n1
ns1 nvme-ns,bus=two,drive=ns1,nsid=1 $(ctrl two)n1
ns7 nvme-ns,bus=two,drive=ns7,nsid=7,logical_block_size=4096 $(ctrl two)n2
scsi scsi-hd,bus=scsi.0,drive=scsi,scsi-id=5,lun=2 $(sd :0:5:2/)
virtio virtio-blk-pci,drive=virtio vda
v4k virtio-blk-pci,drive=v4k,logical_block_size=4096 vdb'
args=(-device "ahci,id=ahci" -device "nvme,id=two,serial=two" -device "virtio-scsi-pci,id=scsi")
while read -r id device _; do
  head -c 3145728 /dev/urandom >"$dir/$id"
  args+=(-drive "if=none,id=$id,format=raw,file=$dir/$id" -device "$device")
done <<<"$disks"
mkfifo "$dir/in"
timeout 500 "$1" -accel tcg -M pc -m 512 -smp 2 -display none -nic none -monitor none -serial stdio -no-reboot -kernel "$kernel" -initrd "$guests/busybox.cpio.gz" \
  -append 'console=ttyS0 quiet' "${args[@]}" <"$dir/in" >"$dir/out" 2>&1 &
vm=$!
exec 3>"$dir/in"
say() { printf '%s\n' "$*" >&3; }
expect() { # TEXT: within five minutes
  for _ in $(seq 600); do
    grep -aq -- "$1" "$dir/out" && return
    kill -0 $vm 2>/dev/null || break
    sleep 0.5
  done
  echo "FAIL: no '$1' ($2); the console's end:"
  tail -25 "$dir/out"
  exit 1
}
sum() { sha256sum <"$1" | cut -c1-64; }
expect GUEST-READY 'the shell'
say 'ctrl() { basename $(dirname $(grep -l $1 /sys/class/nvme/*/serial)); }'
say 'sd() { for f in /sys/block/sd*; do readlink $f | grep -q $1 && basename $f; done; }'
while read -r id _ name; do
  say "sha256sum /dev/$name"
  expect "$(sum "$dir/$id")" "reading $id"
done <<<"$disks"
blocks() { # ID, its name in the guest, bytes of its logical and physical blocks
  say "cd /sys/block/$2/queue; echo BLOCKS-$1 \$(cat logical_block_size physical_block_size)."
  expect "BLOCKS-$1 [0-9]" "blocks of $1"
  grep -aq "BLOCKS-$1 $3\." "$dir/out" || { grep -a "BLOCKS-$1 [0-9]" "$dir/out"; echo "FAIL: not $3"; exit 1; }
}
blocks virtio vda '512 512'
blocks v4k vdb '4096 4096'
blocks ahci '$(sd 0[2-9].0/ata)' '512 4096'
from='' n=0
while read -r id _ name; do
  if [ -n "$from" ]; then
    say "dd if=/dev/$from of=/dev/$name bs=96k conv=fsync 2>/dev/null; echo WROTE-$((n += 1))-\$((1 + 1))"
    expect "WROTE-$n-2" "writing $id"
    cmp "$dir/$last" "$dir/$id" || { echo "FAIL: what was flushed to $id is not in its image"; exit 1; }
  fi
  from=$name last=$id
done <<<"$disks"
say 'dmesg | grep -iE "nvme.*(timeout|error|abort)|ata.*(failed|error)|I/O error" && echo BAD-"LOG" || echo GOOD-"LOG"'
expect -LOG 'the log'
grep -aq BAD-LOG "$dir/out" && { tail -20 "$dir/out"; echo 'FAIL: the kernel complains'; exit 1; }
say 'poweroff -f'
wait $vm
rc=$?
vm=''
[ $rc = 0 ] || { echo "FAIL: it ended with $rc"; exit 1; }
echo 'OK: every disk reads, writes and flushes, and tells its blocks'
