#!/bin/bash
# SPDX-License-Identifier: MIT
# Random chains of convert, commit, rebase and overlays, each step done by one of the two tools, with
# writes between; after each step the image reads like a model that is a raw file, and check is clean.
# usage: random-copies.sh [SEED [STEPS]]
. "$(dirname "$0")/../img/lib.sh"
requires qemu-img qemu-io

seed=${1:-$((RANDOM * 32768 + RANDOM))}
steps=${2:-24}
RANDOM=$((seed % 32768))
echo "seed $seed"
size=$(((RANDOM % 64 + 32) * 65536 + RANDOM % 128 * 512))

pick() { # one of the words
    local words=("$@")
    picked=${words[RANDOM % ${#words[@]}]}
}
tool() {
    pick "$img" qemu-img
    # qemu-img's rebase of version 2 without a backing file lets the new one shine through.
    [ "$1" = rebase ] && qemu-img info "$top" | grep -q 'compat: 0.10' && picked=$img
    log+=("$(basename "$picked") $*")
    "$picked" "$@" >out 2>err || bad 'the tool fails'
}
bad() {
    echo "FAILED: $1 (replay: $0 $seed $steps)"
    printf '  %s\n' "${log[@]}"
    cat out err
    exit 1
}
qcow2_options() {
    pick cluster_size=64k cluster_size=4k cluster_size=512 cluster_size=2M extended_l2=on \
        compat=0.10 lazy_refcounts=on refcount_bits=8 cluster_size=64k
    options=$picked
}

# The same writes to the image and to the model.
write_both() {
    local cmds=() i off len
    for ((i = RANDOM % 5; i >= 0; i--)); do
        off=$((RANDOM * 32768 % size / 512 * 512))
        pick 512 4096 65536 200192 5120
        len=$((off + picked > size ? size - off : picked))
        pick "write -P $((RANDOM % 255 + 1)) $off $len" "write -P 0 $off $len" "write -z $off $len" \
            "write -z -u $off $len" "write -P $((RANDOM % 255 + 1)) $off $len"
        cmds+=(-c "$picked")
    done
    log+=("qemu-io ${cmds[*]} $top")
    qemu-io -f "$format" "${cmds[@]}" "$top" >out 2>err || bad 'qemu-io fails'
    qemu-io -f raw "${cmds[@]}" model >out 2>err || bad 'qemu-io fails'
}

# Everything into a new image.
convert_all() {
    local opts=()
    pick raw qcow2 qcow2 qcow2
    local to=$picked
    if [ "$to" = qcow2 ]; then
        qcow2_options
        opts=(-o "$options")
        pick '' -c '-S 0' '-S 64k' '-W' '-m 1' '-C'
        # shellcheck disable=SC2206
        opts+=($picked)
    fi
    tool convert -f "$format" -O "$to" "${opts[@]}" "$top" "i$n"
    top=i$n format=$to chain=()
}

# The topmost layer alone onto a copy of what is below, or into an image that is there.
convert_layer() {
    [ ${#chain[@]} -gt 0 ] || return 0
    pick '' -c
    # shellcheck disable=SC2086
    tool convert -f qcow2 -O qcow2 $picked -B "${chain[-1]}" -F "${formats[${chain[-1]}]}" "$top" "i$n"
    top=i$n
}

new_overlay() {
    formats[$top]=$format
    chain+=("$top")
    qcow2_options
    log+=("create $options i$n")
    qemu-img create -qf qcow2 -o "$options" -b "$top" -F "$format" "i$n" "$size" || bad 'create'
    top=i$n format=qcow2
}

commit_one() {
    local k
    [ ${#chain[@]} -gt 0 ] || return 0
    k=$((RANDOM % ${#chain[@]}))
    if [ "$k" = $((${#chain[@]} - 1)) ] && [ $((RANDOM % 2)) = 0 ]; then
        tool commit -f qcow2 "$top"
        same "$top" "$format"
    else
        tool commit -f qcow2 -b "${chain[k]}" "$top"
    fi
    top=${chain[k]} format=${formats[$top]}
    chain=("${chain[@]:0:k}")
}

rebase_one() {
    [ "$format" = qcow2 ] || return 0
    pick none other below
    case $picked in
    none)
        tool rebase -f qcow2 -b '' "$top"
        chain=()
        ;;
    other)
        head -c $((RANDOM % 200 * 16384)) /dev/urandom >"b$n"
        cp model half && dd if=half of="b$n" bs=64k count=$((RANDOM % 32)) conv=notrunc status=none
        tool rebase -f qcow2 -b "b$n" -F raw "$top"
        formats[b$n]=raw
        chain=("b$n")
        ;;
    below)
        [ ${#chain[@]} -gt 0 ] || return 0
        local k=$((RANDOM % ${#chain[@]}))
        tool rebase -f qcow2 -b "${chain[k]}" -F "${formats[${chain[k]}]}" "$top"
        chain=("${chain[@]:0:k+1}")
        ;;
    esac
}

same() {
    if [ "$2" = qcow2 ]; then
        qemu-img check -q -f qcow2 "$1" >out 2>err || bad "check of $1"
    fi
    qemu-img compare -q -f raw -F "$2" model "$1" >out 2>err || bad "$1 reads differently"
}

declare -A formats
log=() chain=() top=i0 format=qcow2
truncate -s $size model
qcow2_options
qemu-img create -qf qcow2 -o "$options" i0 $size
for ((n = 1; n <= steps; n++)); do
    write_both
    pick convert_all convert_layer new_overlay new_overlay new_overlay commit_one rebase_one rebase_one
    $picked
    same "$top" "$format"
    "$img" compare -q -f raw -F "$format" model "$top" >out 2>err || bad 'our compare sees a difference'
done
