#!/bin/bash
# SPDX-License-Identifier: MIT
#
# usage: differential-scenarios.sh [SCENARIO...]
#
# Runs the scenarios of scenarios.txt (those named, or all), which are several commands each,
# with the system's qemu-img and qemu-io and with the tools of this tree, called by the same
# names, and compares what each command prints, its exit code, and the qcow2 images at the end.
. "$(dirname "$0")/../img/lib.sh"
. "$here/differ.sh"

requires qemu-img qemu-io jq
case $(qemu-img --version) in
*' version 7.'*) ;;
*) skip 'another version of qemu-img' ;;
esac
link_as qemu-img "$img"
link_as qemu-io "$io"
theirs=$PATH
ours=$PWD/mini:$PATH

# poke FILE OFFSET BYTES: for printf.
poke() { printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none; }

# peek FILE OFFSET: the number of 64 bits there, without the flags of an entry of qcow2's tables.
peek() { echo $((0x$(od -An -tx1 -j$(($2)) -N8 "$1" | tr -d ' ') & 0x00fffffffffffe00)); }

# Offsets of the parts of a qcow2 image.
l1() { peek "$1" 40; }
l2() { peek "$1" "$(l1 "$1")"; }
reftable() { peek "$1" 48; }
refblock() { peek "$1" "$(reftable "$1")"; }

# damage FILE BASE OFFSET,BYTES... -- COMMAND...
damage() {
    local file=$1 base=$2 item items=()
    shift 2
    while [ "$1" != -- ]; do
        items+=("$1")
        shift
    done
    shift
    for item in "${items[@]}"; do
        cp "$file" x
        poke x "$base + ${item%%,*}" "${item#*,}"
        echo "$item"
        "$@"
    done
}

# Child nodes of info, which QEMU 7 does not print; times; how many blocks a file takes; where
# clusters are put.
normalise() {
    awk "/^Child node '/ { child = 1; next } child && /^ / { next } { child = 0; print }" |
        sed -E -e 's/^(.*, [0-9]+ ops; ).*ops\/sec\)$/\1X/' -e 's/in [0-9.]* seconds/in X seconds/' \
            -e 's/^( *disk size: )[0-9].*/\1N/' -e 's/("actual-size": )[0-9]+/\1N/' \
            -e 's/#block[0-9]+/#block/g' -e '/^Image end offset/d' \
            -e 's/ [0-9-]{10} [0-9]{2}:[0-9]{2}:[0-9]{2} / DATE /' \
            -e 's/(, "offset": )[0-9]+/\1N/'
}

# The lines of a scenario, one after the other in one shell and the directory run.
run_scenario() { # FILE RESULT PATH
    rm -rf run
    mkdir run
    (
        cd run || exit 1
        export PATH=$3
        while IFS= read -r line; do
            echo "> $line"
            if grep -qFe "$line	" "$here/scenario-differences.txt"; then
                eval "$line" >/dev/null 2>&1 </dev/null
                continue
            fi
            status=0
            eval "$line" >../out 2>&1 </dev/null || status=$?
            normalise <../out
            [ "$status" = 0 ] || echo "exit code $status"
        done
        export PATH=$theirs
        for file in *.qcow2; do
            [ ! -f "$file" ] || describe_qcow2 "$file"
        done
    ) <"$1" >"$2" 2>&1
}

# compare_scenario NAME FILE
compare_scenario() {
    count=$((count + 1))
    run_scenario "$2" theirs.out "$theirs"
    run_scenario "$2" ours.out "$ours"
    cmp -s theirs.out ours.out && return
    failed=$((failed + 1))
    echo "== $1"
    diff -U "${CONTEXT:-3}" theirs.out ours.out
}

# each_scenario WORDS: of the file on standard input.
each_scenario() {
    local line scenario=
    : >commands
    while IFS= read -r line; do
        case $line in
        '# == '*)
            [ ! -s commands ] || compare_scenario "$scenario" commands
            scenario=${line#\# == }
            : >commands
            ;;
        '' | '#'*) ;;
        *) [ $# -gt 0 ] && [[ " $* " != *" $scenario "* ]] || printf '%s\n' "$line" >>commands ;;
        esac
    done
    [ ! -s commands ] || compare_scenario "$scenario" commands
}

count=0 failed=0
each_scenario "$@" <"${SCENARIOS:-$here/scenarios.txt}"
echo "$count scenarios, $failed different"
rm -f out err
[ "$failed" = 0 ] || exit 1
