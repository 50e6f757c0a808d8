#!/bin/bash
# SPDX-License-Identifier: MIT
# Images that are written to, snapshotted, resized and amended at random by this tool and the
# system's in turn: the contents of disk and snapshots stay what they were, and the system's check
# finds nothing. The seed is printed; the first argument replays one.
. "$(dirname "$0")/../img/lib.sh"
requires qemu-img qemu-io

seed=${1:-$RANDOM}
RANDOM=$seed
echo "seed $seed"

check_all() {
    local snap
    qemu-img check -q x || fail "round $1: $last: check"
    "$img" convert -f qcow2 -O raw x got || fail "round $1: $last: convert"
    cmp got expected || fail "round $1: $last: the disk has changed"
    for snap in expected-*; do
        [ -e "$snap" ] || continue
        qemu-img convert -f qcow2 -l "${snap#expected-}" -O raw x got || fail "round $1: convert -l"
        cmp got "$snap" || fail "round $1: $last: snapshot $snap has changed"
    done
}

amends=(compat=0.10,refcount_bits=16 compat=1.1 refcount_bits=8 refcount_bits=64 refcount_bits=16
    refcount_bits=4 lazy_refcounts=on compat=0.10,refcount_bits=16 lazy_refcounts=off)
yes below | head -c 3M >base
for variant in '' 'backing_file=base,backing_fmt=raw'; do
    rm -f expected*
    qemu-img create -q -f qcow2 -o "cluster_size=$((512 << RANDOM % 4))${variant:+,$variant}" x 2M
    for round in $(seq 10); do
        tools=("$img" qemu-img)
        tool=${tools[RANDOM % 2]}
        args=()
        for i in 1 2 3; do
            at=$((RANDOM % 3500 * 512))
            length=$((RANDOM % 120 * 512 + 512))
            ops=("write -P $round" 'write -z' 'write -zu' discard)
            args+=(-c "${ops[RANDOM % 4]} $at $length")
        done
        qemu-io -f qcow2 "${args[@]}" x >/dev/null || fail "round $round: qemu-io"
        qemu-img convert -f qcow2 -O raw x expected
        case $((RANDOM % 5)) in
        0)
            last="snapshot"
            qemu-img snapshot -c "s$round" x && cp expected "expected-s$round"
            ;;
        1)
            snaps=(expected-*)
            last="delete ${snaps[0]}"
            [ -e "${snaps[0]}" ] && qemu-img snapshot -d "${snaps[0]#expected-}" x &&
                rm "${snaps[0]}"
            ;;
        *)
            change=${amends[RANDOM % ${#amends[@]}]}
            # qemu-img 7.2 leaves wrong COPIED flags where snapshots share zero clusters.
            [[ $change = compat=0.10* ]] && tool=$img
            last="$tool amend $change"
            # Some are impossible now: snapshots may need wider refcounts, version 2 fewer.
            "$tool" amend -f qcow2 -o "$change" x 2>/dev/null
            ;;
        esac
        check_all "$round"
    done
done
