#!/bin/bash
# report.sh MENURA - what an autopsy shows, and what follows: `menura run` stops, menura-system-* does as -action says.
here=$(cd "$(dirname "$0")" && pwd) menura=$1 system=${1%menura}menura-system-x86_64 bad=0
command -v gcc >/dev/null && command -v ld >/dev/null || { echo "SKIP: no gcc or ld"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for k in cases/stack-unmapped cases/idt-limit-0 other/reset other/panic; do "$here/build" "$here/$k.S" "$work/${k#*/}" || exit 1; done
plain=(-accel tcg -display none -monitor none -device isa-debug-exit -device pvpanic)

fail() { echo "FAIL: $1"; sed 's/^/  | /' "$work/err" | head -60; bad=1; }
# run WHAT STATUS COMMAND..: its stderr goes to $work/err; status 124 is still running after the time
run() {
  local what=$1 want=$2 got
  shift 2
  timeout "${limit:-60}" "$@" </dev/null >"$work/out" 2>"$work/err"
  got=$?
  [ $got = "$want" ] || fail "$what: status $got, not $want"
}
says() { grep -qE -- "$2" "$work/err" || fail "$1: the report has no $2"; }
silent() { ! grep -q 'triple fault' "$work/err" || fail "$1: there is a report"; }

run 'menura run stops' 66 "$menura" run "$work/stack-unmapped" "${plain[@]}"
for t in '^menura: triple fault: .*stack' 'page walk of 0x3ffffff8 from CR3' 'PDE   at .*not present' 'call 0x' 'IDT entry 14 at .*type 0xe, DPL 0, present' 'RSP=0000000040000000' \
  'last events' 'cpu.exception vector 14'; do says 'menura run' "$t"; done
run 'device accesses' 66 "$menura" run "$work/idt-limit-0" "${plain[@]}"
says 'device accesses' 'i8259 io\.write <- 0xfe'
says 'device accesses' 'i8254 io\.write <- 0x34|pit io\.write <- 0x34'
for j in on off; do
  run "blocks, jit=$j" 66 "$menura" run "$work/stack-unmapped" "${plain[@]:2}" -accel "tcg,jit=$j"
  says "blocks, jit=$j" '^  last blocks entered by look-up .*oldest first$'
  at=$(sed -n 's/^  blocks known to hold the last instruction: \(0x[0-9a-f]*\) .*/\1/p' "$work/err")
  { [ -n "$at" ] && grep -qE "^    $at\b" "$work/err"; } || fail "blocks, jit=$j: the block that died is not among those looked up"
done
run '-no-reboot ends' 0 "$system" "${plain[@]}" -kernel "$work/stack-unmapped" -no-reboot
says -no-reboot '^menura: triple fault: '
run '-action reboot=shutdown ends' 0 "$system" "${plain[@]}" -kernel "$work/stack-unmapped" -action reboot=shutdown
limit=10 run '-no-shutdown stays' 124 "$system" "${plain[@]}" -kernel "$work/stack-unmapped" -no-reboot -no-shutdown
[ "$(grep -c 'triple fault:' "$work/err")" = 1 ] || fail '-no-shutdown: it goes on'
limit=10 run 'resets by default' 124 "$system" "${plain[@]}" -kernel "$work/stack-unmapped"
[ "$(grep -c 'triple fault:' "$work/err")" -gt 1 ] || fail 'by default: no second triple fault'
run 'reboot on purpose' 3 "$menura" run "$work/reset" "${plain[@]}"
silent 'reboot on purpose'
run 'panic under menura run' 64 "$menura" run "$work/panic" "${plain[@]}"
says 'panic under menura run' '^menura: guest panic'
run 'panic ends by default' 0 "$system" "${plain[@]}" -kernel "$work/panic"
run '-action panic=exit-failure' 1 "$system" "${plain[@]}" -kernel "$work/panic" -action panic=exit-failure
run '-action panic=none' 3 "$system" "${plain[@]}" -kernel "$work/panic" -action panic=none
limit=10 run '-action panic=pause' 124 "$system" "${plain[@]}" -kernel "$work/panic" -action panic=pause

# the same as an event: -S, so that the client is there before the guest dies
timeout 60 "$system" "${plain[@]}" -kernel "$work/stack-unmapped" -no-reboot -S -qmp "unix:$work/qmp,server=on,wait=off" </dev/null 2>"$work/err" &
python3 - "$work/qmp" <<'P' || fail 'QMP: no event MENURA_AUTOPSY with cause and report, then SHUTDOWN'
import json, socket, sys, time
for _ in range(300):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.1)
f = s.makefile("rw")
f.readline()
for c in ("qmp_capabilities", "cont"):
    f.write(json.dumps({"execute": c}) + "\n")
    f.flush()
seen = [json.loads(line) for line in f]
events = [e["event"] for e in seen if "event" in e]
data = next(e["data"] for e in seen if e.get("event") == "MENURA_AUTOPSY")
assert "stack" in data["cause"] and "page walk" in data["report"] and data["reason"] == "triple fault", data
assert events.index("MENURA_AUTOPSY") < events.index("SHUTDOWN"), events
P
wait
[ $bad = 0 ] && echo "all as it should be"
exit $bad
