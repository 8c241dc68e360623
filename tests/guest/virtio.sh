#!/bin/bash
# virtio.sh MENURA - Linux with our busybox initrd and one of each virtio device, rings packed on one disk and the legacy interface
# on the other: both disks read right, a console and a named port talk both ways, the balloon takes memory and gives it back.
here=$(cd "$(dirname "$0")" && pwd)
guests=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
kernel=$guests/vmlinuz-cloud
if ! [ -s "$guests/busybox.cpio.gz" ] || ! [ -s "$kernel" ]; then
  "$here/../guests/make-initrd" "$guests" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
fi
dir=$(mktemp -d)
vm=''
trap '[ -n "$vm" ] && kill $vm 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
head -c 2097152 /dev/urandom >"$dir/a.img"
head -c 2097152 /dev/urandom >"$dir/b.img"
mkfifo "$dir/in"
timeout 500 "$1" -accel tcg -m 512 -nodefaults -display none -serial stdio -no-reboot -kernel "$kernel" -initrd "$guests/busybox.cpio.gz" \
  -append 'console=ttyS0 quiet' -drive "if=none,id=a,format=raw,file=$dir/a.img" -device virtio-blk-pci,drive=a,packed=on,num-queues=2 \
  -drive "if=none,id=b,format=raw,file=$dir/b.img" -device virtio-blk-pci-transitional,drive=b,disable-modern=on \
  -device virtio-serial-pci -chardev "file,id=c,path=$dir/console" -device virtconsole,chardev=c \
  -chardev "socket,id=p,path=$dir/port,server=on,wait=off" -device virtserialport,chardev=p,name=org.menura.test,id=port0 \
  -device virtio-balloon-pci -device virtio-rng-pci -device virtio-keyboard-pci -device virtio-tablet-pci -device virtio-mouse-pci \
  -chardev "socket,id=m,path=$dir/qmp,server=on,wait=off" -mon m,mode=control <"$dir/in" >"$dir/out" 2>&1 &
vm=$!
exec 3>"$dir/in"
say() { printf '%s\n' "$*" >&3; }
expect() { # TEXT FILE: within five minutes
  for _ in $(seq 600); do
    grep -aq "$1" "${2:-$dir/out}" && return
    kill -0 $vm 2>/dev/null || break
    sleep 0.5
  done
  echo "FAIL: no '$1' in ${2:-the console}; its end:"
  tail -15 "${2:-$dir/out}"
  exit 1
}
expect GUEST-READY
say 'sha256sum /dev/vda /dev/vdb; ls /sys/class/input; ls /sys/class/virtio-ports'
expect "$(sha256sum <"$dir/a.img" | cut -c1-64)"
expect "$(sha256sum <"$dir/b.img" | cut -c1-64)"
say 'dd if=/dev/vda of=/dev/vdb bs=64k; sync; echo COPIED-$((1 + 1))'
expect COPIED-2
cmp "$dir/a.img" "$dir/b.img" || { echo "FAIL: the copy differs"; exit 1; }
say 'echo hello-console >/dev/hvc0; p=$(grep -l org.menura.test /sys/class/virtio-ports/*/name); p=/dev/$(basename $(dirname $p)); exec 4<>$p; echo hello-port >&4; read x <&4; echo GOT-$x'
expect hello-console "$dir/console"
python3 - "$dir/port" "$dir/qmp" <<'PY' || exit 1
import json, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.settimeout(200); s.connect(sys.argv[1])
got = b''
while b'hello-port' not in got: got += s.recv(100)
s.sendall(b'from-outside\n')
q = socket.socket(socket.AF_UNIX); q.settimeout(200); q.connect(sys.argv[2]); f = q.makefile('rw')
def ask(**c):
    f.write(json.dumps(c) + '\n'); f.flush()
    while True:
        r = json.loads(f.readline())
        if 'return' in r or 'error' in r: return r
f.readline(); ask(execute='qmp_capabilities')
def target(mib):
    ask(execute='balloon', arguments={'value': mib << 20})
    for _ in range(400):
        n = ask(execute='query-balloon')['return']['actual'] >> 20
        if n == mib: return
        time.sleep(0.5)
    sys.exit(f'FAIL: the balloon stands at {n}, not {mib}')
target(400); target(512)
PY
expect GOT-from-outside
say 'dmesg | grep -E "Oops|BUG|WARNING" && echo KERNEL-$((1 + 1)) || poweroff -f'
wait $vm
status=$?
vm=''
[ $status = 0 ] || { echo "FAIL: status $status"; tail -15 "$dir/out"; exit 1; }
echo "ok: two disks, console, named port, balloon"
