#!/bin/bash
# choose.sh MENURA - where /dev/kvm cannot be opened: -accel kvm says why and what to do, accel=kvm:tcg falls back in silence, and
# without -accel the line on stderr says which accelerator and why not KVM.
m=$(realpath "$1") n=0
[ -e /dev/kvm ] || { echo "SKIP: there is no /dev/kvm to be kept out of"; exit 77; }
as=()
if [ -w /dev/kvm ]; then
  [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null || { echo "SKIP: /dev/kvm can be opened, and only root can try as another user"; exit 77; }
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  "${as[@]}" test -w /dev/kvm && { echo "SKIP: everybody may open /dev/kvm"; exit 77; }
  "${as[@]}" test -x "$m" || { echo "SKIP: another user cannot run $m"; exit 77; }
fi
check() { # check STATUS TEXT args..
  local want=$1 text=$2 got status limit=60
  shift 2
  [ "$want" = 124 ] && limit=3
  got=$(cd /; XDG_CACHE_HOME=/nowhere timeout $limit "${as[@]}" "$m" "$@" 2>&1 </dev/null)
  status=$?
  if [ $status != "$want" ] || { [ -n "$text" ] && ! grep -qF -- "$text" <<<"$got"; } || { [ -z "$text" ] && [ -n "$got" ]; }; then
    echo "FAIL: $*: status $status (want $want), said: $got"
    n=$((n + 1))
  fi
}
check 1 'no permission to open /dev/kvm' -accel kvm -display none
check 1 'usermod -aG kvm' -enable-kvm -display none
check 124 '' -machine accel=kvm:tcg -display none -nodefaults -S
check 124 '' -accel kvm -accel tcg -display none -nodefaults -S
[ $n = 0 ]
