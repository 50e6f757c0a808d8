#!/bin/bash
# SPDX-License-Identifier: MIT
# A fresh qcow2 image is byte for byte what the system's qemu-img makes, for products of the
# creation options.
set -u
mini=${QEMU_IMG_MINI:?}
command -v qemu-img >/dev/null || { echo "no qemu-img"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
truncate -s 5M base.raw
n=0
bad=0

# same OPTIONS SIZE [ARGUMENT...]
same() {
    local options=$1 size=$2
    shift 2
    rm -f theirs ours ./*.data
    if ! qemu-img create -q -f qcow2 ${options:+-o "$options"} "$@" theirs $size; then
        echo "qemu-img cannot make: $options $size $*"
        bad=$((bad + 1))
        return
    fi
    if ! "$mini" create -q -f qcow2 ${options:+-o "$options"} "$@" ours $size ||
            ! cmp theirs ours; then
        echo "differs: options '$options', size '$size', $*"
        bad=$((bad + 1))
    fi
    n=$((n + 1))
}

for size in 0 512 1M 64M 10G; do
    for options in "" compat=0.10 cluster_size=512 cluster_size=4k cluster_size=2M \
                   lazy_refcounts=on extended_l2=on compression_type=zstd; do
        [ "$options,$size" = cluster_size=512,10G ] && continue # needs a larger refcount table
        same "$options" $size
    done
done
for bits in 1 2 4 8 16 32 64; do
    same "refcount_bits=$bits" 100M
    same "refcount_bits=$bits,cluster_size=1k" 20M
done
same cluster_size=512 1G
same cluster_size=8k,refcount_bits=64 1T
same "" 2P
for options in "" compat=0.10 cluster_size=4k cluster_size=512 extended_l2=on,cluster_size=16k; do
    same "$options" "" -b base.raw -F raw
    same "$options" 20M -b base.raw -F raw
done
same data_file=x.data 1M
for options in "" cluster_size=4k extended_l2=on,cluster_size=16k cluster_size=2M; do
    same "${options:+$options,}preallocation=metadata" 3M
done
echo "$n combinations, $bad differ"
[ $bad = 0 ]
