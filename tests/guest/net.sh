#!/bin/bash
# net.sh MENURA CARD [KERNEL] - Linux with our busybox initrd on a user network: it gets its address by DHCP, downloads
# a file of 3 MB from an HTTP server on our loopback (10.0.2.2 for it), uploads it through a forwarded port, and reaches a
# chardev through guestfwd; all sums agree. no_timer_check: on a loaded host a CPU may be without a turn for longer than Linux waits. KERNEL: vmlinuz-cloud (default) or vmlinuz.
here=$(cd "$(dirname "$0")" && pwd)
guests=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests}
kernel=$guests/${3:-vmlinuz-cloud}
if ! [ -s "$guests/busybox.cpio.gz" ] || ! [ -s "$kernel" ]; then
  "$here/../guests/make-initrd" "$guests" || { echo "SKIP: the guest cannot be made here (see above)"; exit 77; }
fi
"$1" -netdev help | grep -q '^user ' || { echo "SKIP: this build has no user networks (package libslirp-dev)"; exit 77; }
dir=$(mktemp -d)
server='' vm=''
cleanup() {
  for p in $server $vm; do kill "$p" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$dir"
}
trap cleanup EXIT
head -c 3000000 /dev/urandom >"$dir/f"
sum=$(sha256sum <"$dir/f" | cut -c1-64)
# serves the folder on a free port of the loopback and says which
python3 -c '
import functools, http.server, sys
class H(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(H, directory=sys.argv[1]))
print(s.server_port, flush=True)
s.serve_forever()' "$dir" >"$dir/port" &
server=$!
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
until [ -s "$dir/port" ]; do sleep 0.1; done
port=$(cat "$dir/port")
mkfifo "$dir/in"
timeout 500 "$1" -accel tcg -m 512 -nodefaults -display none -serial stdio -no-reboot -kernel "$kernel" -initrd "$guests/busybox.cpio.gz" \
  -append 'console=ttyS0 quiet no_timer_check' -netdev "user,id=n,hostfwd=tcp:127.0.0.1:$free-:2222,guestfwd=tcp:10.0.2.100:9-file:$dir/guestfwd" \
  -device "$2,netdev=n" <"$dir/in" >"$dir/out" 2>&1 &
vm=$!
exec 3>"$dir/in"
say() { printf '%s\n' "$*" >&3; }
expect() { # TEXT: on the console, within five minutes
  for _ in $(seq 600); do
    grep -aq "$1" "$dir/out" && return
    kill -0 $vm 2>/dev/null || break
    sleep 0.5
  done
  echo "FAIL: no '$1' on the console; its end:"
  tail -15 "$dir/out"
  exit 1
}
expect GUEST-READY
say 'n=$(ls /sys/class/net | grep -v lo); ip link set $n up; udhcpc -i $n -n -q -t 10 -T 3 -s /bin/udhcpc-script && echo DHCP-$((1 + 1))'
expect DHCP-2
say "wget -q -O /tmp/f http://10.0.2.2:$port/f; sha256sum /tmp/f"
expect "$sum"
say 'nc -l -p 2222 </tmp/f & sleep 1; echo LISTENS-$((1 + 1))'
expect LISTENS-2
got=$(python3 -c '
import hashlib, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60)
s.settimeout(120)
n, h = 0, hashlib.sha256()
while n < 3000000:
    b = s.recv(65536)
    if not b: break
    n += len(b); h.update(b)
print(h.hexdigest())' "$free")
[ "$got" = "$sum" ] || { echo "FAIL: the forwarded port gave other bytes: $got, not $sum"; exit 1; }
say 'echo through-the-wall | timeout 3 nc 10.0.2.100 9; echo SENT-$((1 + 1))'
expect SENT-2
grep -q through-the-wall "$dir/guestfwd" || { echo "FAIL: guestfwd brought nothing"; exit 1; }
say 'dmesg | grep -E "Oops|BUG|WARNING|Tx Unit Hang|transmit queue" && echo KERNEL-$((1 + 1)) || poweroff -f'
wait $vm
status=$?
vm=''
[ $status = 0 ] || { echo "FAIL: status $status"; tail -15 "$dir/out"; exit 1; }
echo "ok: $2: DHCP, 3 MB down and up, guestfwd, power-off"
