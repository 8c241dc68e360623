#!/bin/bash
# run.sh MENURA KERNEL ACCEL APPEND [ARG..] - one boot of the stress kernel; fails unless it says that all is well.
menura=$1 kernel=$2 accel=$3 append=$4
shift 4
log=$(timeout "${STRESS_LIMIT:-300}" "$menura" -no-reboot -accel "$accel" -M pc -m 64 -smp 2 -cpu max -nodefaults -display none -kernel "$kernel" \
  -chardev stdio,id=con -device isa-debugcon,chardev=con -device isa-debug-exit -append "$append" "$@" 2>&1 </dev/null)
status=$?
[ $status = 1 ] && grep -q '^PASSED' <<<"$log" && { tail -1 <<<"$log"; exit 0; }
echo "$accel, $append: status $status"
head -30 <<<"$log"
exit 1
