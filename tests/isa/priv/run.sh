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
log=$(mktemp)
trap 'rm -f "$log"' EXIT
emulates() { # does the KVM of this host emulate kernel code? measured, and said when menura chooses for itself
  timeout 60 "$menura" run "$kernel" -no-reboot -nodefaults -display none -device isa-debug-exit 2>&1 </dev/null | grep -q "KVM emulates kernel code"
}
here_too='$3 == "any"' # which rows of kvm-differs.txt hold
[ "$accel" = kvm ] && emulates && here_too='1'
may_fail() { # the text begins like one that kvm-differs.txt has for this kernel; prints why
  awk -F'|' -v k="$name" -v l="$1" '!/^#/ && $1 == k && index(l, $2) == 1 && ('"$here_too"') { found = 1; print $4 } END { exit !found }' "$here/../kvm-differs.txt"
}
[ "$accel" != kvm ] || ! why=$(may_fail 'not run') || { echo "SKIP: $why"; exit 77; }
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
stops=
if [ "$accel" = kvm ] && grep -q 'KVM cannot emulate an instruction' <<<"$out" && may_fail 'KVM internal error' >/dev/null; then
  stops=1 # the verdicts before it count all the same
elif ! { [ "$accel" = kvm ] && [ $status = 3 ] && grep -q '^FAILED' <<<"$out"; }; then
  echo "status $status"
  exit 1
fi
while read -r line; do
  may_fail "${line#FAIL }" >/dev/null || { echo "not in kvm-differs.txt: $line"; bad=1; }
done < <(grep '^FAIL ' <<<"$out")
[ -z "$bad" ] || exit 1
[ -z "$stops" ] || { echo "SKIP: this host's KVM emulates kernel code and cannot go on here (see kvm-differs.txt)"; exit 77; }
