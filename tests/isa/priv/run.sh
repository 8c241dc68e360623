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
out=$(timeout 900 "$menura" -no-reboot -accel "$accel" -M pc -m 64 -nodefaults -display none -kernel "$kernel" \
  -chardev stdio,id=con -device isa-debugcon,chardev=con -device isa-debug-exit "$@" 2>&1 </dev/null)
status=$?
echo "$out"
[ $status = 1 ] && grep -q '^PASSED' <<<"$out" && exit 0
[ "$accel" = kvm ] && [ $status = 3 ] && grep -q '^FAILED' <<<"$out" || { echo "status $status"; exit 1; }
while read -r line; do # every failed verdict must begin with one of the list
  awk -F'|' -v k="$name" -v l="$line" '!/^#/ && $1 == k && index(l, "FAIL " $2) == 1 { found = 1 } END { exit !found }' "$here/../kvm-differs.txt" ||
    { echo "not in kvm-differs.txt: $line"; bad=1; }
done < <(grep '^FAIL ' <<<"$out")
[ -z "$bad" ]
