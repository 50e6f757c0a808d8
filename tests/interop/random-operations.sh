#!/bin/bash
# SPDX-License-Identifier: MIT
# A qcow2 image of random options lives through random operations, each done by this project's tools
# or by the system's, while a raw file, written alike, says what must be read. One seed is one life.
#
# Every operation of qemu-img is done by both, each to a copy of its own: they agree on whether it can
# be done and on the message. The life goes on with one of the two copies; after a refusal with ours,
# because QEMU may leave clusters behind. Every few steps both tools read the disk and the snapshots,
# find nothing to complain of in check, and print the same information and map.
#
# usage: random-operations.sh [SEED]        replays one life
# SECONDS_TO_RUN=600   one life after the other for that long, instead of one short life
# VERIFY_EVERY=1       after each step
# KEEP_FAILED=DIR      copies the files of a life that failed into DIR
. "$(dirname "$0")/../img/lib.sh"
requires qemu-img qemu-io
requires_file "$io"
ulimit -c 0

imgs=("$img" qemu-img)
ios=("$io" qemu-io)
state=$work/state # the image x and what it refers to
other=$work/other # the same before the step, for the tool that was not chosen

pick() { # one of the words
    local words=("$@")
    picked=${words[RANDOM % ${#words[@]}]}
}

bad() {
    echo "FAILED in step $step: $1 (replay: $0 $seed)"
    printf '  %s\n' "${log[@]}"
    tail -n 30 out err out.other err.other 2>/dev/null
    if [ -n "${KEEP_FAILED-}" ]; then
        mkdir -p "$KEEP_FAILED" && cp -r "$work" "$KEEP_FAILED/seed-$seed"
    fi
    exit 1
}

# $2... in the directory $1; messages name qemu-img whoever speaks. Nothing takes two minutes here.
run_in() {
    local dir=$1 result
    shift
    (cd "$dir" && exec timeout 120 "$@") >out 2>err.raw </dev/null
    result=$?
    sed "s/^qemu-img-mini:/qemu-img:/; s/'#block[0-9]*'/'#block'/" err.raw >err
    [ $result -lt 124 ] || bad "exit code $result of $*"
    return $result
}

# The command of qemu-img, by both; false when they refuse. 'prefer' forces whose copy is kept.
both() {
    local first=$((RANDOM % 2)) done1=0 done2=0
    [ -z "$prefer" ] || first=$prefer
    prefer=
    log+=("$(basename "${imgs[first]}") ${*@Q}")
    rm -rf "$other"
    cp -r "$state" "$other"
    run_in "$other" "${imgs[1 - first]}" "$@" || done2=$?
    mv out out.other && mv err err.other
    run_in "$state" "${imgs[first]}" "$@" || done1=$?
    [ $done1 = $done2 ] || bad "exit code $done1, but $done2 of the other tool"
    cmp -s err err.other || bad 'the messages differ'
    rm -f out.other err.other
    [ $done1 != 0 ] || return 0
    log+=("  refused: $(tail -n 1 err)")
    if [ $first = 1 ]; then
        rm -rf "$state" && mv "$other" "$state"
    fi
    return 1
}

# By ours alone, where qemu-img 7.2 is known to fail.
alone() {
    prefer=
    log+=("$(basename "$img") ${*@Q}")
    run_in "$state" "$img" "$@"
}

# qemu-img 7.2's check -r loses the snapshots of an image that has bitmaps too.
repair() {
    local by=both
    [ ${#snapshots[@]} -gt 0 ] && [ ${#bitmaps[@]} -gt 0 ] && by=alone
    $by check -q -f qcow2 -r "$1" x || bad 'check -r'
}

sectors() { # up to $1 bytes, a multiple of 512 that is not 0
    picked=$(((RANDOM * 32768 + RANDOM) % ($1 / 512) * 512 + 512))
}

# ---- the image at its birth

new_base() { # NAME: a raw or qcow2 file of random length; its contents become base.model
    local length
    sectors $((max * 3 / 2)) && length=$picked
    yes "$1 $RANDOM" | head -c $length >base.model
    pick 0 $((length / 3))
    dd if=/dev/zero of=base.model bs=512 seek=$((picked / 512)) count=$((length / 1024)) conv=notrunc status=none
    truncate -s $length base.model
    pick raw qcow2
    base=$1 base_format=$picked
    if [ "$base_format" = raw ]; then
        cp base.model "$state/$1"
    else
        pick 512 4k 64k
        qemu-img convert -O qcow2 -o "cluster_size=$picked" base.model "$state/$1"
    fi
}

birth() {
    local bits
    rm -rf "$state" "$other" snap.* model ./*.model out* err*
    mkdir "$state"
    base='' data='' version=3 snapshots=() bitmaps=() counter=0 prefer='' log=()
    pick 512 1024 4096 16384 65536 65536 $((2 << 20))
    cluster=$picked
    max=$((cluster == 512 ? 2 << 20 : cluster == 2 << 20 ? 12 << 20 : 5 << 20))
    options=cluster_size=$cluster
    pick 2 3 3 3
    if [ "$picked" = 2 ]; then
        version=2 options+=,compat=0.10
    else
        pick 1 2 4 8 16 16 16 16 32 64
        bits=$picked
        options+=,refcount_bits=$bits
        [ $((RANDOM % 4)) = 0 ] && options+=,lazy_refcounts=on
        [ $((RANDOM % 3)) = 0 ] && [ $cluster -ge 16384 ] && options+=,extended_l2=on
        [ $((RANDOM % 3)) = 0 ] && options+=,compression_type=zstd
        case $((RANDOM % 8)) in
        0) data=cooked options+=,data_file=data ;;
        1) data=raw options+=,data_file=data,data_file_raw=on ;;
        esac
    fi
    sectors $max && size=$picked
    [ $((RANDOM % 2)) = 0 ] && [ "$data" != raw ] && new_base base0
    if [ -z "$base" ] && [ $((RANDOM % 4)) = 0 ]; then
        pick metadata falloc
        options+=,preallocation=$picked
    fi
    both create -q -f qcow2 -o "$options" ${base:+-b $base -F $base_format} x $size ||
        bad 'the image cannot be made'
    [ -z "$base" ] || cp base.model model
    truncate -s $size model
}

# ---- operations

# Some writes by one tool, the same to the model. A discard takes whole clusters alone, and none where
# a version 2 image would let the backing file shine through.
op_write() {
    local cmds=() raw=() i off len from to
    for ((i = RANDOM % 6; i >= 0; i--)); do
        sectors $size && off=$((picked - 512))
        pick 512 4096 $cluster $((3 * cluster)) 65536 5120 100352 $max
        len=$((off + picked > size ? size - off : picked))
        case $((RANDOM % 8)) in
        0) picked="write -z $off $len" ;;
        1) picked="write -z -u $off $len" ;;
        2 | 3) picked="discard $off $len" ;;
        4) picked="write -P 0 $off $len" ;;
        *) picked="write -P $((RANDOM % 255 + 1)) $off $len" ;;
        esac
        cmds+=(-c "$picked")
        if [ "${picked%% *}" = discard ]; then
            from=$(((off + cluster - 1) / cluster * cluster))
            to=$((off + len == size ? size : (off + len) / cluster * cluster))
            [ $version = 2 ] && [ -n "$base" ] && continue
            [ $to -gt $from ] || continue
            picked="write -z $from $((to - from))"
        fi
        raw+=(-c "$picked")
    done
    by_io "${cmds[@]}"
    [ ${#raw[@]} = 0 ] || qemu-io -f raw "${raw[@]}" model >out 2>err || bad 'the model'
}

by_io() {
    pick "${ios[@]}"
    log+=("$(basename "$picked") ${*@Q}")
    run_in "$state" "$picked" -f qcow2 -d unmap "$@" x || bad 'qemu-io fails'
    ! grep -q 'failed\|error' out err || bad 'qemu-io fails'
}

# A whole cluster compressed; refused where one was written already.
op_compressed() {
    local off len byte=$((RANDOM % 255 + 1)) first=$((RANDOM % 2)) failed=()
    [ -z "$data" ] || return 0
    sectors $size && off=$(((picked - 512) / cluster * cluster))
    len=$((off + cluster > size ? size - off : cluster))
    log+=("$(basename "${ios[first]}") write -c -P $byte $off $len")
    rm -rf "$other"
    cp -r "$state" "$other"
    run_in "$other" "${ios[1 - first]}" -f qcow2 -c "write -c -P $byte $off $len" x
    failed[0]=$?$(grep failed out)
    run_in "$state" "${ios[first]}" -f qcow2 -c "write -c -P $byte $off $len" x
    failed[1]=$?$(grep failed out)
    [ "${failed[0]}" = "${failed[1]}" ] || bad "the tools differ: ${failed[*]}"
    [ "${failed[0]}" = 0 ] || return 0
    qemu-io -f raw -c "write -P $byte $off $len" model >out || bad 'the model'
}

# The process dies after a flush: what was flushed is there. One of the tools mends the refcounts.
op_crash() {
    local off byte=$((RANDOM % 255 + 1)) len
    sectors $size && off=$((picked - 512))
    len=$((off + 70000 / 512 * 512 > size ? size - off : 70000 / 512 * 512))
    pick "${ios[@]}"
    log+=("$(basename "$picked") write -P $byte $off $len, flush, abort")
    (cd "$state" && "$picked" -f qcow2 -c "write -P $byte $off $len" -c flush -c abort x; :) >out 2>err
    qemu-io -f raw -c "write -P $byte $off $len" model >out || bad 'the model'
    repair all
}

op_snapshot() {
    local k
    if [ ${#snapshots[@]} = 0 ] || [ $((RANDOM % 3)) = 0 ]; then
        counter=$((counter + 1))
        both snapshot -c s$counter x || return 0
        cp model snap.s$counter
        snapshots+=(s$counter)
        return
    fi
    k=$((RANDOM % ${#snapshots[@]}))
    if [ $((RANDOM % 2)) = 0 ]; then
        both snapshot -a "${snapshots[k]}" x || return 0
        cp "snap.${snapshots[k]}" model
        size=$(stat -c %s model)
    else
        both snapshot -d "${snapshots[k]}" x || return 0
        rm "snap.${snapshots[k]}"
        unset "snapshots[k]"
        snapshots=("${snapshots[@]}")
    fi
}

op_resize() {
    local to more=() by=both
    sectors $max && to=$picked
    [ $to -ge $size ] || more+=(--shrink)
    [ $((RANDOM % 4)) = 0 ] && [ $to -gt $size ] && pick metadata falloc && more+=(--preallocation=$picked)
    # qemu-img 7.2's preallocation=metadata takes free clusters as they are, with what was in them.
    [[ "${more[*]}" = *=metadata ]] && prefer=0
    # And where the disk ends within a cluster, what a shrink has left there comes back when it grows.
    [ $to -gt $size ] && [ $((size % cluster)) != 0 ] && prefer=0
    if [ ${#more[@]} = 0 ] && [ $((RANDOM % 4)) = 0 ]; then
        both amend -f qcow2 -o size=$to x || return 0
    else
        # For falloc it asks for a longer file, and fails when free clusters make that a shorter one.
        [[ "${more[*]}" = *=falloc ]] && by=alone
        $by resize -q -f qcow2 "${more[@]}" x $to || return 0
    fi
    size=$to
    truncate -s $size model
}

# What a snapshot has not got of its own comes from the backing file, which must then stay.
op_commit() {
    [ -n "$base" ] && [ ${#snapshots[@]} = 0 ] || return 0
    pick -q -d
    both commit -q $picked -f qcow2 x || return 0
    run_in "$state" qemu-img dd -f $base_format -O raw if=$base of=../base.read || bad 'dd'
    cmp -n $size base.read model >out 2>err || bad 'the base after the commit'
}

op_rebase() {
    [ ${#snapshots[@]} = 0 ] || return 0
    local old=$base old_format=${base_format-}
    # qemu-img's rebase of a version 2 image without a backing file lets the new one shine through.
    [ $version = 2 ] && prefer=0
    if [ $((RANDOM % 3)) = 0 ]; then
        both rebase -f qcow2 -b '' x || return 0
        base=
        return
    fi
    counter=$((counter + 1))
    new_base base$counter
    both rebase -f qcow2 -b $base -F $base_format x || base=$old base_format=$old_format
}

op_amend() {
    local by=both
    pick compat=0.10 compat=1.1 compat=1.1 lazy_refcounts=on lazy_refcounts=off refcount_bits=1 \
        refcount_bits=4 refcount_bits=8 refcount_bits=16 refcount_bits=16 refcount_bits=64 data_file_raw=off
    # qemu-img 7.2 leaves wrong COPIED flags where snapshots share zero clusters.
    [ $picked = compat=0.10 ] && prefer=0
    # Bitmaps are more than version 2 can have; qemu-img 7.2 lets them leak. It also forgets that streams
    # are zstd's.
    [ $picked = compat=0.10 ] && [[ ${#bitmaps[@]} -gt 0 || $options = *zstd* ]] && by=alone
    # It walks through 2^38 empty refcounts.
    [ $cluster = $((2 << 20)) ] && [ ${picked%=*} = refcount_bits ] && by=alone
    $by amend -f qcow2 -o $picked x || return 0
    case $picked in
    compat=0.10) version=2 ;;
    compat=1.1) version=3 ;;
    data_file_raw=off) data=${data:+cooked} ;;
    esac
}

op_bitmap() {
    local k name
    if [ ${#bitmaps[@]} -lt 2 ] && [ $((RANDOM % 2)) = 0 ]; then
        counter=$((counter + 1))
        pick '' '-g 512' '-g 4k' '-g 1M'
        # shellcheck disable=SC2086
        both bitmap --add $picked x b$counter && bitmaps+=(b$counter)
        return 0
    fi
    [ ${#bitmaps[@]} -gt 0 ] || return 0
    k=$((RANDOM % ${#bitmaps[@]}))
    name=${bitmaps[k]}
    pick --enable --disable --clear --remove "--merge ${bitmaps[0]}"
    # shellcheck disable=SC2086
    both bitmap $picked x $name || return 0
    if [ "$picked" = --remove ]; then
        unset "bitmaps[k]"
        bitmaps=("${bitmaps[@]}")
    fi
}

op_repair() {
    pick leaks all
    repair $picked
}

# ---- what must hold

# The output of a command of qemu-img is that of both, but for child nodes, which QEMU 8 prints.
alike() {
    run_in "$state" qemu-img "$@" || bad "qemu-img $*"
    mv out out.other
    run_in "$state" "$img" "$@" || bad "ours: $*"
    sed -i "/^Child node '/,\$d" out
    diff out.other out >difference || { mv difference out; bad "the tools differ: $*"; }
    rm -f out.other
}

verify() {
    local tool snap length
    alike check -f qcow2 x
    alike info -f qcow2 x
    alike map --output=json -f qcow2 x
    for tool in "${imgs[@]}"; do
        run_in "$state" "$tool" compare -q -f raw -F qcow2 ../model x || bad "$tool reads something else"
        for snap in "${snapshots[@]}"; do
            run_in "$state" "$tool" convert -f qcow2 -O raw -l "$snap" x ../snapshot.read || bad "$snap: $tool"
            # The snapshot's size, where it was another, is the image's for qemu-img 7.2.
            length=$(stat -c %s "snap.$snap")
            [ "$tool" = qemu-img ] && [ $length -gt $size ] && length=$size
            cmp -n "$length" snapshot.read "snap.$snap" >out 2>err || bad "$tool reads another $snap"
        done
    done
    if [ "$data" = raw ]; then
        cmp -n $size "$state/data" model >out 2>err || bad 'the raw data file is not the disk'
    fi
}

live() { # SEED
    seed=$1 step=0
    RANDOM=$seed
    echo "seed $seed"
    birth
    for ((step = 1; step <= steps; step++)); do
        pick write write write write compressed snapshot snapshot snapshot resize commit rebase amend \
            amend bitmap bitmap crash repair
        op_$picked
        [ $((step % ${VERIFY_EVERY:-4})) != 0 ] || verify
    done
    verify
    total=$((total + steps))
}

steps=${STEPS:-30} total=0
if [ $# -gt 0 ]; then
    live "$1"
else
    next=$((RANDOM * 32768 + RANDOM))
    SECONDS=0
    while :; do
        live $((next++))
        [ $SECONDS -lt "${SECONDS_TO_RUN:-0}" ] || break
    done
fi
echo "$total steps"
