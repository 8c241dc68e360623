#!/bin/bash
# install.sh BUILD-FOLDER MENURA-PREFIX - what `make install` puts down runs from there: program, link, manual page.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
meson install -C "$1" --no-rebuild --destdir "$work" >"$work/log" 2>&1 || { cat "$work/log"; echo "FAIL: meson install"; exit 1; }
bin=$work$2/bin
bad=0
check() { # WHAT TEXT COMMAND..
  local what=$1 text=$2
  shift 2
  "$@" 2>&1 </dev/null | grep -qF -- "$text" || { echo "FAIL: $what: no '$text' from $*"; bad=1; }
}
check 'menura' 'menura 0.' "$bin/menura" --version
check 'the link' 'QEMU emulator version 10.0' "$bin/menura-system-x86_64" -version
check '--help' 'menura run [--explain]' "$bin/menura" --help
[ "$(readlink "$bin/menura-system-x86_64")" = menura ] || { echo "FAIL: menura-system-x86_64 is no link to menura"; bad=1; }
page=$(find "$work" -name menura.1)
[ -s "$page" ] || { echo "FAIL: no manual page"; exit 1; }
"$bin/menura-system-x86_64" -help | sed -n 's/^-\([A-Za-z_-]*\).*/\1/p' | while read -r o; do
  grep -qE "^\.BI? .*\\\\-${o//-/\\\\-}( |\$)" "$page" || { echo "FAIL: the manual page has no -$o"; exit 1; }
done || bad=1
find "$work" -type f -o -type l | sed "s|$work||" | grep -v /log
exit $bad
