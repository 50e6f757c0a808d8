#!/bin/sh
# SPDX-License-Identifier: MIT
# Cross-compile the coroutine core for aarch64, with each backend, and run its test under
# qemu-aarch64. Needs no C library beyond the cross compiler's own.
set -eu
top=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
cc=${CROSS_CC:-aarch64-linux-gnu-gcc}
run=${CROSS_RUN:-qemu-aarch64}
for tool in "$cc" "$run"; do
    command -v "$tool" >/dev/null || { echo "no $tool here: skipped"; exit 77; }
done
# The C library that the compiler came with; the emulator looks for it there.
libc=$("$cc" -print-file-name=libc.so.6)
case $libc in
    /*) ;;
    *) echo "no C library for $cc: skipped"; exit 77 ;;
esac
root=$(cd "$(dirname "$libc")/.." && pwd)

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
core="qemu-coroutine.c coroutine-pool.c coroutine-stack.c"
build_and_run() {
    name=$1
    shift
    files=
    for f in $core "$@"; do
        files="$files $top/util/$f"
    done
    # shellcheck disable=SC2086 # a list
    "$cc" -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -D_GNU_SOURCE \
        -fno-strict-aliasing -I"$top/include" -o "$tmp/$name" \
        "$top/tests/unit/test-coroutine-bare.c" $files -lm -lpthread
    timeout 100 "$run" -L "$root" "$tmp/$name"
}
build_and_run asm coroutine-asm.c coroutine-switch-aarch64.S
build_and_run ucontext coroutine-ucontext.c
