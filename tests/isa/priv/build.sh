#!/bin/sh
# build.sh OUT BITS SOURCE.c [FLAG..] - one test kernel; CC and LD from the environment
out=$1 bits=$2 src=$3
shift 3
here=$(dirname "$0")
abi='-m64 -mcmodel=small -mno-red-zone' emul=elf_x86_64
[ "$bits" = 32 ] && abi='-m32 -mregparm=3' emul=elf_i386
exec ${CC:-cc} -std=gnu11 -O1 -g0 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare $abi -ffreestanding -fno-pic -no-pie -fno-stack-protector \
  -fcf-protection=none -mgeneral-regs-only -fno-asynchronous-unwind-tables -nostdlib -static -Wl,-m,$emul -Wl,-T,"$here/k.lds" \
  -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments "$@" -o "$out" "$here/boot$bits.S" "$here/k.c" "$src"
