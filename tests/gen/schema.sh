#!/bin/sh
# schema.sh GENERATOR DIR [--update]: what the schema generator makes of sample.json is what golden/ says; each of
# bad/NAME.json is refused with the line in bad/NAME.txt.
gen=$1 dir=$2 fails=0
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
bad() { echo "not ok: $*"; fails=$((fails + 1)); }

python3 "$gen" "$out" "$dir/sample.json" || bad "sample.json is refused"
for f in builtin.h sample.h types.c commands.c qmp.md hmp.md; do
    [ "$3" = --update ] && cp "$out/$f" "$dir/golden/$f"
    diff -u "$dir/golden/$f" "$out/$f" || bad "$f differs"
done
for f in "$dir"/bad/*.json; do
    if said=$(python3 "$gen" "$out" "$f" 2>&1); then
        bad "$f is accepted"
    fi
    said=${said##*/}
    [ "$3" = --update ] && echo "$said" >"${f%.json}.txt"
    [ "$said" = "$(cat "${f%.json}.txt")" ] || bad "$f: said '$said'"
done
[ $fails -eq 0 ] && echo "ok"
exit $((fails > 0))
