#!/bin/sh
# SPDX-License-Identifier: MIT
# scripts/blkco-gdb.py lists suspended coroutines with their frames, in a live process and
# in a core file. Arguments: the program to look at, the script.
set -eu
program=$(realpath "$1")
script=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
command -v gdb >/dev/null || { echo "no gdb here: skipped"; exit 77; }
gdb -batch -ex 'python import gdb.unwinder' >/dev/null 2>&1 ||
    { echo "gdb without Python: skipped"; exit 77; }
! grep -q __llvm_profile_runtime "$program" ||
    { echo "the counters of scripts/coverage shape other frames: skipped"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
failed=0

expect() {
    grep -Eq "$2" "$1" || { echo "in $1, no line like: $2"; failed=1; }
}

check() {
    expect "$1" "suspended 'reader' created by main"
    expect "$1" "suspended 'writer' created by main"
    expect "$1" 'active created by main'
    expect "$1" '^3 coroutines'
    expect "$1" 'in outer_wait at .*coroutine-gdb-target.c:'
    expect "$1" 'in reader_entry at '
    expect "$1" 'in writer_entry at '
    expect "$1" 'in coroutine_trampoline at '
    # The frames of a selected coroutine, with their arguments.
    expect "$1" 'outer_wait \(number=(41|number@entry=41|<optimized out>)'
    # A backtrace of an active coroutine is the thread's.
    expect "$1" 'in crash_here'
    [ $failed = 0 ] || { cat "$1"; exit 1; }
}

cat >commands <<'END'
set debuginfod enabled off
set width 0
set pagination off
bt
coroutine list
coroutine bt
python
for co in coroutines():
    if co.line().find("'reader'") >= 0:
        gdb.execute('coroutine select %#x' % co.address)
        gdb.execute('bt')
        gdb.execute('coroutine select none')
end
END

if gdb -nx -batch -ex 'set debuginfod enabled off' \
    -ex 'handle SIGUSR2 nostop noprint pass' -ex run -x "$script" -x commands "$program" \
    >live 2>&1 && grep -q 'SIGABRT' live; then
    check live
    echo "a live process: well"
else
    cat live
    echo "gdb cannot run programs here: skipped"
    exit 77
fi

case $program in *-asm)
    gdb -nx -batch -ex 'set debuginfod enabled off' -x "$here/coroutine-unwind.py" "$program" \
        >unwind 2>&1 || true
    expect unwind '^unwound at each instruction'
    [ $failed = 0 ] || { cat unwind; exit 1; }
    echo "unwinding through the switch: well"
    ;;
esac

# The core file is the kernel's: gdb's own generate-core-file stops at guard pages.
ulimit -c unlimited 2>/dev/null || true
"$program" 2>/dev/null || true
core=$(find . -maxdepth 1 -name 'core*' | head -n 1)
if [ -z "$core" ]; then
    echo "the kernel wrote no core file here: not checked"
    exit 0
fi
gdb -nx -batch -x "$script" -x commands "$program" "$core" >from-core 2>&1 ||
    { cat from-core; exit 1; }
check from-core
echo "a core file: well"
