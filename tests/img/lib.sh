# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts share: a directory of their own (the current one, removed at the end),
# ways to run the tool and to say what is expected of it. A script ends with 0, with 77
# when something that it needs is missing, otherwise it has failed.

set -u
export LC_ALL=C
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
img=${QEMU_IMG_MINI:-$here/../../build/qemu-img-mini/qemu-img-mini}
# shellcheck disable=SC2034
io=${QEMU_IO_MINI:-$here/../../build/qemu-io-mini/qemu-io-mini}
build=${BLKCO_TEST_BUILD:-$(dirname "$img")/../tests/img}
name=$(basename "$img")
work=$(mktemp -d "${TMPDIR:-/tmp}/blkco-img.XXXXXX") || exit 1
cleanups=()

# Commands for the end, run in reverse order.
at_exit() { cleanups+=("$*"); }

finish() {
    local status=$? i
    for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
        eval "${cleanups[i]}"
    done
    cd / && rm -rf "$work"
    exit "$status"
}
trap finish EXIT
cd "$work" || exit 1

skip() { echo "skipped: $*"; exit 77; }

fail() {
    echo "FAILED: $*"
    [ -e out ] && sed 's/^/  stdout: /' out
    [ -e err ] && sed 's/^/  stderr: /' err
    exit 1
}

requires() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || skip "there is no $tool"
    done
}

requires_root() { [ "$(id -u)" = 0 ] || skip 'this takes root'; }

requires_file() { [ -e "$1" ] || skip "there is no $1"; }

# The address and thread sanitizers go neither with a preloaded library nor with strace.
requires_no_sanitizer() {
    if nm "$img" 2>/dev/null | grep -q '__[at]san_init'; then
        skip 'built with a sanitizer'
    fi
}

# A file system of $1 on which O_DIRECT works; skips when there is none.
requires_direct() {
    dd if=/dev/zero of=direct-probe bs=4096 count=1 oflag=direct 2>probe-err ||
        skip 'no direct I/O here'
    rm -f direct-probe probe-err
}

# Run a command: stdout in the file out, stderr in err, exit code in $status.
run() {
    status=0
    "$@" >out 2>err </dev/null || status=$?
}

expect_status() { [ "$status" = "$1" ] || fail "exit code $status instead of $1: ${*:2}"; }

# The whole of stdout or stderr, without the newline at the end.
expect_out() { [ "$(cat out)" = "$1" ] || fail "stdout is not: $1"; }
expect_err() { [ "$(cat err)" = "$1" ] || fail "stderr is not: $1"; }

expect_out_has() { grep -qe "$1" out || fail "not in stdout: $1"; }
expect_err_has() { grep -qe "$1" err || fail "not in stderr: $1"; }

# Run the tool and expect success and silence on stderr.
ok() {
    run "$img" "$@"
    expect_status 0 "$@"
    expect_err ''
}

# Run the tool ($2...), expect exit code 1 and the message $1 on stderr, nothing else.
refused() {
    local message=$1
    shift
    run "$img" "$@"
    expect_status 1 "$@"
    expect_err "$name: $message"
    expect_out ''
}

# Run a command as run() does and send it the signal $1 as soon as the file $2 takes space.
run_until_written() {
    local signal=$1 target=$2 i
    shift 2
    set -m # a job of its own, in which SIGINT is not ignored
    "$@" >out 2>err </dev/null &
    set +m
    for i in $(seq 500); do
        [ "$(stat -c %b "$target" 2>/dev/null || echo 0)" -gt 0 ] && break
        sleep 0.01
    done
    kill -s "$signal" $!
    status=0
    wait $! 2>/dev/null || status=$?
}

# A sparse file $1 of 16 MiB with data at 1 MiB (64 KiB), 5 MiB + 12 KiB (4 KiB) and at the end (512 bytes).
make_image() {
    rm -f "$1"
    truncate -s 16M "$1"
    yes 'some data' | head -c 65536 | dd of="$1" bs=4096 seek=256 conv=notrunc status=none
    yes 'other data' | head -c 4096 | dd of="$1" bs=4096 seek=1283 conv=notrunc status=none
    yes 'the end' | head -c 512 | dd of="$1" bs=512 seek=32767 conv=notrunc status=none
}

# A file $1 with $2 bytes, none of its sectors zero.
make_full() { yes 'full of data' | head -c "$2" >"$1"; }

# Allocated KiB of a file.
disk_kib() { echo $(($(stat -c %b "$1") / 2)); }

# QEMU has the image $1 open for writing from here to the end of the script.
hold_for_writing() {
    mkfifo "$work/hold"
    qemu-io -f raw "$1" <"$work/hold" >/dev/null 2>&1 &
    exec 9>"$work/hold"
    at_exit 'exec 9>&-; wait'
    wait_for_lock "$1" 101
}

# Somebody has locked byte $2 of the file $1: 101 writes, 201 lets nobody write.
wait_for_lock() {
    local inode i
    inode=$(stat -c %i "$1")
    for i in $(seq 200); do
        awk -v inode="$inode" -v byte="$2" \
            '$6 ~ ":" inode "$" && $7 <= byte && byte <= $8 { found = 1 } END { exit !found }' \
            /proc/locks && return
        sleep 0.01
    done
    fail "no lock on byte $2 of $1"
}
