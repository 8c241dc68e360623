#!/bin/bash
# run.sh MENURA ACCEL KERNEL [ARG..] - one privileged test kernel; its verdicts decide. With kvm, verdicts listed in kvm-differs.txt may fail.
menura=$1 accel=$2 kernel=$3
shift 3
[[ " $* " == *" -cpu "* ]] || set -- -cpu max "$@"
here=$(dirname "$0") name=$(basename "$kernel" .elf)
if [ "$accel" = kvm ]; then
  [ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP: /dev/kvm cannot be opened"; exit 77; }
  "$menura" -accel help 2>/dev/null | grep -qw kvm || { echo "SKIP: built without the kvm accelerator"; exit 77; }
fi
why=$(awk -F'|' -v k="$name" '$1 == k && $2 == "not run" { print $3 }' "$here/../kvm-differs.txt")
[ "$accel" != kvm ] || [ -z "$why" ] || { echo "SKIP: $why"; exit 77; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout 900 "$menura" -no-reboot -accel "$accel" -M pc -m 64 -nodefaults -display none -kernel "$kernel" \
  -chardev stdio,id=con -device isa-debugcon,chardev=con -device isa-debug-exit "$@" >"$log" 2>&1 </dev/null &
pid=$!
while kill -0 $pid 2>/dev/null; do # an internal error stops the VM and leaves the process
  grep -q 'KVM internal error' "$log" && sleep 1 && kill $pid
  sleep 0.1
done
wait $pid
status=$?
out=$(cat "$log")
echo "$out"
[ $status = 1 ] && grep -q '^PASSED' <<<"$out" && exit 0
may_fail() { # the text begins like one that kvm-differs.txt has for this kernel
  awk -F'|' -v k="$name" -v l="$1" '!/^#/ && $1 == k && index(l, $2) == 1 { found = 1 } END { exit !found }' "$here/../kvm-differs.txt"
}
stops=
if [ "$accel" = kvm ] && grep -q 'KVM cannot emulate an instruction' <<<"$out" && may_fail 'KVM internal error'; then
  stops=1 # the verdicts before it count all the same
elif ! { [ "$accel" = kvm ] && [ $status = 3 ] && grep -q '^FAILED' <<<"$out"; }; then
  echo "status $status"
  exit 1
fi
while read -r line; do
  may_fail "${line#FAIL }" || { echo "not in kvm-differs.txt: $line"; bad=1; }
done < <(grep '^FAIL ' <<<"$out")
[ -z "$bad" ] || exit 1
[ -z "$stops" ] || { echo "SKIP: this host's KVM emulates kernel code and cannot go on here (see kvm-differs.txt)"; exit 77; }
