#!/bin/bash
# gdb.sh MENURA - the real gdb on whole guests: the firmware from real to protected mode, Linux at start_kernel, and a kernel of ours
# with symbols. gdb's own output decides.
here=$(cd "$(dirname "$0")" && pwd) menura=$1
for t in gdb gcc ld; do command -v $t >/dev/null || { echo "SKIP: no $t"; exit 77; }; done
[ -f /usr/share/seabios/bios-256k.bin ] || { echo "SKIP: no SeaBIOS (package seabios)"; exit 77; }
work=$(mktemp -d) bad=0 pid=
trap '[ -z "$pid" ] || kill $pid 2>/dev/null; rm -rf "$work"' EXIT

start() { # OPTION.. - a machine that waits for gdb on $work/gdb
  rm -f "$work/gdb"
  timeout 500 "$menura" -accel "${accel:-tcg}" -nodefaults -display none -S -gdb "unix:$work/gdb,server=on,wait=off" "$@" </dev/null &
  pid=$!
  for _ in $(seq 100); do [ -S "$work/gdb" ] && return; sleep 0.1; done
  echo "FAIL: no gdb socket"
  exit 1
}
stop() { kill $pid 2>/dev/null; wait $pid; pid=; }
session() { # NAME: gdb with the commands of stdin; what it says goes to $work/NAME
  { printf 'set pagination off\nset confirm off\nset tcp auto-retry off\nset remotetimeout 60\ntarget remote %s\n' "$work/gdb"; cat; } >"$work/$1.gdb"
  timeout "${gdb_limit:-120}" gdb -nx -batch -x "$work/$1.gdb" ${file:+"$file"} >"$work/$1" 2>&1 </dev/null
}
says() { # NAME REGEX..: each must be in what gdb said
  local name=$1 r
  shift
  for r; do grep -qE -- "$r" "$work/$name" || { echo "FAIL: $name: gdb did not say: $r"; cat "$work/$name"; bad=1; }; done
}

firmware() {
  start -m 64
  session firmware <<'G'
set architecture i8086
printf "reset at %#lx\n", $rip
x/5xb $rip
break *0xfe05b
continue
printf "real mode at %#lx, cr0.pe %d, cs %#x\n", $rip, $cr0 & 1, $cs
delete
set $n = 0
while ($cr0 & 1) == 0 && $n < 20000
  stepi
  set $n = $n + 1
end
printf "protected mode after %d steps: %d\n", $n, $n > 0 && $n < 20000
set architecture i386
stepi
printf "cs %#x\n", $cs
stepi
stepi
printf "flat: %d\n", $rip > 0xe0000
hbreak *$rip
detach
G
  says firmware 'reset at 0xfffffff0' '0xea.*0x5b.*0xe0' 'real mode at 0xfe05b, cr0.pe 0, cs 0xf000' 'protected mode after [0-9]+ steps: 1' 'cs 0x8$' 'flat: 1'
  stop
}

symbols() {
  local file=$work/counts
  gcc -g -O1 -ffreestanding -fno-pic -mno-red-zone -c -o "$work/c.o" "$here/gdb/counts.c" &&
    "$here/../autopsy/build" "$here/gdb/counts.S" "$file" "$work/c.o" || exit 1
  start -m 64 -kernel "$file"
  session symbols <<'G'
hbreak work
continue
print pair
delete
watch counter
continue
continue
print counter
delete
break work
continue
delete
rwatch pair.right
continue
x/2i $pc
print/x *(unsigned char *)work@2
detach
G
  says symbols 'Hardware assisted breakpoint 1.*counts.c' 'Breakpoint 1, work \(\) at .*counts.c' '\{left = 17, right = 4\}' 'atchpoint 2: counter' \
    'Old value = 0' 'New value = 3' 'New value = 6' '\$2 = 6' 'Breakpoint 3, work' 'atchpoint .*pair.right' 'Value = 4' '^=> 0x'
  stop
}

linux() {
  local dir=${MENURA_GUESTS:-${XDG_CACHE_HOME:-$HOME/.cache}/menura-guests} at
  if ! [ -s "$dir/busybox.cpio.gz" ] || ! [ -s "$dir/vmlinuz-cloud" ]; then
    "$here/../guests/make-initrd" "$dir" || { echo "linux: skipped, the guest cannot be made here (see above)"; return; }
  fi
  local kernel=(-m 512 -kernel "$dir/vmlinuz-cloud" -initrd "$dir/busybox.cpio.gz" -append 'console=ttyS0 quiet nokaslr')
  "$here/../guests/expect-serial" --log "$work/log" --timeout 400 --wait 'GUEST-READY' --wait '[#$] ' \
    --send 'grep " start_kernel$" /proc/kallsyms' --wait '^[0-9a-f]+ T start_kernel' --send 'poweroff -f' --exit 0 -- \
    "$menura" -accel "${accel:-tcg}" -nodefaults -display none -no-reboot "${kernel[@]}" || { echo "FAIL: linux: see above"; exit 1; }
  at=$(tr -d '\r' <"$work/log" | sed -n 's/^\([0-9a-f]\{16\}\) T start_kernel.*/\1/p' | head -1)
  [ -n "$at" ] || { echo "FAIL: linux: no address of start_kernel"; exit 1; }
  start -serial "file:$work/serial" "${kernel[@]}"
  session linux <<G
hbreak *0x$at
continue
printf "start_kernel: %d, paging %d, long mode %d\n", \$rip == 0x$at, (\$cr0 >> 31) & 1, (\$efer >> 10) & 1
x/2i \$rip
x/s *(char **)\$rsp
info threads
delete
stepi
printf "stepped: %d\n", \$rip != 0x$at
detach
G
  says linux "reakpoint 1, 0x0*$at in" 'start_kernel: 1, paging 1, long mode 1' 'stepped: 1' 'Thread 1'
  for _ in $(seq 600); do grep -aq GUEST-READY "$work/serial" && break; sleep 0.5; done
  grep -aq GUEST-READY "$work/serial" || { echo "FAIL: linux: it did not go on to its shell"; bad=1; }
  stop
}

for accel in tcg,jit=off tcg; do
  firmware
  symbols
  linux
  [ $bad = 0 ] && echo "$accel: three guests debugged"
done
exit $bad
