#!/bin/bash
# cli.sh MENURA - the command line: help, version, and mistakes that give one clear line and status 1.
m=$1 n=0
check() { # check STATUS TEXT args..
  local want=$1 text=$2 got
  shift 2
  got=$(timeout 20 "$m" "$@" 2>&1 </dev/null)
  local status=$?
  if [ $status != "$want" ] || ! grep -q -- "$text" <<<"$got" || { [ "$want" = 1 ] && [ "$(grep -cv '^hint: ' <<<"$got")" != 1 ]; }; then
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
check 1 "unable to find CPU model 'nonsense'" -accel tcg -cpu nonsense -display none
check 1 "Property 'qemu64-x86_64-cpu.nonsense' not found" -accel tcg -cpu qemu64,+nonsense -display none
check 1 'exactly 12 characters' -accel tcg -cpu qemu64,vendor=short -display none
check 1 "parameter 'family' can be at most 270" -accel tcg -cpu qemu64,family=999 -display none
check 1 'the software CPU lacks' -accel tcg -cpu Skylake-Server,enforce -display none
check 1 "CPU model 'host' requires KVM" -accel tcg -cpu host -display none
check 1 'no such accelerator' -accel nonsense
check 1 'cannot find firmware' -accel tcg -display none -bios nowhere.bin
check 1 'nowhere.iso' -accel tcg -display none -cdrom nowhere.iso
check 1 '-m' -m 0
check 1 'not a valid device model' -accel tcg -display none -device nonsense
check 1 'no ISO, bootable disk, disk image' run /etc/passwd
check 1 'cannot open' run nowhere.img

# What is broken in the world outside: one line that names it, nothing crashes.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# The log of what the software CPU makes of guest code, as far as this build and host can.
"$m" -accel tcg -display none -nodefaults -d in_asm,op,op_opt,out_asm -D "$tmp/code" </dev/null &
p=$!
for _ in $(seq 200); do
  grep -qs '^OP after liveness' "$tmp/code" && break
  sleep 0.1
done
kill $p
wait $p 2>/dev/null
for text in '^IN: [0-9]* instructions, mode ' '^OP:' '^  0xfffffff0:' '^OP after liveness:'; do
  grep -q "$text" "$tmp/code" || { echo "FAIL: -d in_asm,op,op_opt: no '$text' in the log"; n=$((n + 1)); }
done
if [ "$(uname -m)" = x86_64 ] && ! grep -q '^OUT: [0-9]* bytes for 0x' "$tmp/code"; then
  echo "FAIL: -d out_asm: nothing in the log"
  n=$((n + 1))
fi

quiet="-accel tcg -display none -nodefaults -S"
head -c 70000 /dev/urandom >"$tmp/noise"
check 1 'this is not a saved state' $quiet -incoming "file:$tmp/noise"
: >"$tmp/empty"
check 1 'cut off after 0 bytes' $quiet -incoming "file:$tmp/empty"
printf 'MENURAVM\x63\0\0\0more' >"$tmp/new"
check 1 'version 99' $quiet -incoming "file:$tmp/new"
check 1 'No such file' $quiet -incoming "file:$tmp/nowhere"
check 1 'unknown migration protocol' $quiet -incoming pigeon:x
check 1 'Is a directory' $quiet -bios "$tmp"
head -c 20000000 /dev/zero >"$tmp/big"
check 1 '1 byte to 16 MiB' $quiet -bios "$tmp/big"
{ head -c 32768 /dev/zero; printf '\1CD001\1'; head -c 73 /dev/zero; printf '\0\0\1\0'; head -c 44 /dev/zero; printf '\0\10'; head -c 4000 /dev/zero; } >"$tmp/cut.iso"
check 1 'the image is cut off' run "$tmp/cut.iso"
check 1 'Is a directory' $quiet -kernel "$tmp"
check 1 'is missing' $quiet -object rng-random
check 1 'invalid object type' $quiet -object nonsense,id=x
check 1 'no memory backend' $quiet -machine memory-backend=nowhere
check 1 'want allow or deny' $quiet -sandbox on,spawn=x
check 1 'topology' $quiet -smp 3,cores=2
check 1 'wants an argument' -kernel
check 1 'JSON' $quiet -device '{"driver":'
check 1 "Property 'isa-serial.nonsense' not found" $quiet -device 'isa-serial,nonsense=1'
for what in machine accel cpu device chardev object display netdev audiodev d trace; do check 0 '' -$what help; done
check 0 'filename' -object rng-random,help
check 0 'hpet' -machine pc,help
check 0 'tcg options' -accel tcg,help
check 0 'std' -vga help
check 1 'no such card' -vga voodoo
check 1 'neither JPEG nor' $quiet -boot "splash=$tmp/noise"
check 1 'bootindex=1 is that of another' $quiet -nic none -device virtio-net-pci,bootindex=1 -device e1000,bootindex=1

# A graphic card that nobody asked for, and its absence
for t in '1 -vga std' '0 ' '0 -vga none'; do
  got=$(printf 'info pci\nquit\n' | timeout 60 "$m" $quiet ${t#* } -monitor stdio 2>&1 | grep -c 1234:1111)
  [ "$got" = "${t%% *}" ] || { echo "FAIL: -nodefaults ${t#* }: $got cards"; n=$((n + 1)); }
done
got=$(printf 'info pci\nquit\n' | timeout 60 "$m" -accel tcg -display none -S -monitor stdio 2>&1 | grep -c 1234:1111)
[ "$got" = 1 ] || { echo "FAIL: without -nodefaults: $got cards"; n=$((n + 1)); }

check 1 'the nodes have 67108864 bytes' $quiet -m 128 -object memory-backend-ram,id=a,size=64M -numa node,memdev=a -numa node
check 1 'node 0 is missing' $quiet -numa node,nodeid=1
check 1 "no memory backend 'x'" $quiet -numa node,memdev=x
check 1 'exclude each other' $quiet -m 64 -object memory-backend-ram,id=a,size=64M -machine memory-backend=a -numa node
check 1 'distance between nodes' $quiet -m 64 -object memory-backend-ram,id=a,size=64M -numa node,memdev=a -numa node -numa node -numa dist,src=0,dst=1,val=15
check 0 'reconnect-ms=N' -chardev socket,help
check 1 'no chardev back end' -chardev nonsense,help

# Options from a file
printf '# comment\n[machine]\n  type = "q35"\n[memory]\nsize = "96"\n[name]\n guest = "a,b"\n[device "rng7"]\n driver = "virtio-rng-pci"\n' >"$tmp/ok.cfg"
got=$(printf 'info name\ninfo qtree\ninfo memory_size_summary\nquit\n' | timeout 60 "$m" $quiet -readconfig "$tmp/ok.cfg" -monitor stdio 2>&1)
if ! grep -q 'a,b' <<<"$got" || ! grep -q 'rng7' <<<"$got" || ! grep -q 100663296 <<<"$got"; then echo "FAIL: -readconfig: $got"; n=$((n + 1)); fi
printf '[memory]\nsize = "0"\n' >"$tmp/bad.cfg"
check 1 'line 1: .memory.: -m size=0' $quiet -readconfig "$tmp/bad.cfg"
printf '\n[memory\n' >"$tmp/bad.cfg"
check 1 'line 2: not of the form' $quiet -readconfig "$tmp/bad.cfg"
printf '[memory]\nsize = 5\n' >"$tmp/bad.cfg"
check 1 'line 2: not of the form KEY' $quiet -readconfig "$tmp/bad.cfg"
printf 'size = "5"\n' >"$tmp/bad.cfg"
check 1 'before the first group' $quiet -readconfig "$tmp/bad.cfg"
printf '[spice]\nport = "5"\n' >"$tmp/bad.cfg"
check 1 'this build has no SPICE server' $quiet -readconfig "$tmp/bad.cfg"

# Another character begins the commands of a multiplexer
got=$(printf '\001x\024h\024x' | timeout 60 "$m" $quiet -echr 20 -serial mon:stdio 2>&1)
grep -q 'Ctrl-T x *end the machine' <<<"$got" || { echo "FAIL: -echr 20: $got"; n=$((n + 1)); }

# Another user, another root, a helper that holds the memory: only root can
if [ "$(id -u)" = 0 ]; then
  mkdir "$tmp/root"
  "$m" $quiet -chardev "socket,id=c,path=$tmp/rw,server=on,wait=off" -mon c,mode=control -run-with "async-teardown=on,chroot=$tmp/root,user=65534:65533" &
  pid=$!
  for _ in $(seq 200); do grep -q '^Uid:.65534' /proc/$pid/status && break; sleep 0.1; done
  grep -q '^Uid:.65534.65534.65534.65534' /proc/$pid/status && grep -q '^Gid:.65533.65533.65533' /proc/$pid/status || { echo 'FAIL: -run-with user'; n=$((n + 1)); }
  [ "$(readlink /proc/$pid/root)" = "$tmp/root" ] || { echo 'FAIL: -run-with chroot'; n=$((n + 1)); }
  child=$(cat /proc/$pid/task/*/children)
  # ThreadSanitizer cannot follow a child that shares the memory
  if grep -aq __tsan_init "$m"; then
    echo 'not looked at under ThreadSanitizer: async-teardown'
  else
    [ "$(cat /proc/${child%% *}/comm)" = teardown ] && [ -z "$(ls /proc/${child%% *}/fd)" ] || { echo "FAIL: async-teardown: children '$child'"; n=$((n + 1)); }
  fi
  kill $pid
  wait $pid
  for _ in $(seq 200); do [ -e "/proc/${child%% *}" ] || break; sleep 0.1; done
  [ ! -e "/proc/${child%% *}" ] || { echo 'FAIL: the helper stays'; n=$((n + 1)); }
fi

# 200 KB of [ on the machine protocol are an error there, and it goes on
{ echo '{"execute":"qmp_capabilities"}'; head -c 200000 /dev/zero | tr '\0' '['; echo; echo '{"execute":"quit"}'; } >"$tmp/deep"
out=$(timeout 60 "$m" $quiet -qmp stdio <"$tmp/deep" 2>&1)
status=$?
if [ $status != 0 ] || ! grep -q '"error": {"class": "GenericError"' <<<"$out"; then
  echo "FAIL: 200 KB of [: status $status, said ${out:0:300}"
  n=$((n + 1))
fi

# In the background: the parent ends when the socket and the pid file are there; a signal ends it and both are gone.
"$m" $quiet -qmp "unix:$tmp/sock,server=on,wait=off" -pidfile "$tmp/pid" -daemonize -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny || { echo 'FAIL: -daemonize'; n=$((n + 1)); }
if ! [ -S "$tmp/sock" ] || ! kill -0 "$(cat "$tmp/pid")"; then echo 'FAIL: no socket or no process'; n=$((n + 1)); fi
grep -q '^Seccomp:.2' "/proc/$(cat "$tmp/pid")/status" || { echo 'FAIL: no sandbox'; n=$((n + 1)); }
check 1 'another process may have it' $quiet -pidfile "$tmp/pid"
kill "$(cat "$tmp/pid")"
for _ in $(seq 200); do [ -e "$tmp/pid" ] || break; sleep 0.1; done
if [ -e "$tmp/pid" ] || [ -e "$tmp/sock" ]; then echo 'FAIL: files stay behind'; n=$((n + 1)); fi
check 1 'cannot find firmware' $quiet -daemonize -bios nowhere.bin

check 1 'which image' run
check 1 'no such option' run --nonsense
check 0 '--explain' --help
check 0 '--snapshot' run --help
check 0 'menura ' --version
check 1 'no such command' frobnicate
img=$(mktemp)
head -c 510 /dev/zero >"$img"; printf '\x55\xaa' >>"$img"
check 0 '-drive' run --explain "$img"
check 0 '-nic user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:0.0.0.0:53-:5353' run --explain -p 2222:22 -p 0.0.0.0:53:5353/udp "$img"
check 1 '-p nonsense' run --explain -p nonsense "$img"
rm -f "$img"
[ $n = 0 ]
