#!/bin/bash
# SPDX-License-Identifier: MIT
#
# usage: damaged-images.sh [SEED [ROUNDS]]
#
# Images of the system's qemu-img with a few words of their header or tables replaced by what
# hurts: whatever the tools say, they end by themselves, soon, in little memory; and what a
# repair calls mended is sound. The seed is printed.
. "$(dirname "$0")/../img/lib.sh"
requires qemu-img qemu-io timeout

seed=${1:-$(($(date +%s) % 32768))}
rounds=${2:-6}
echo "seed $seed"
RANDOM=$seed

# Small clusters: much of each file is metadata.
qemu-img create -q -f qcow2 -o cluster_size=512 plain 1M
qemu-img create -q -f qcow2 -o cluster_size=16k,extended_l2=on subclusters 1M
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=1k old 1M
qemu-img create -q -f qcow2 -o refcount_bits=64,lazy_refcounts=on,cluster_size=1k wide 1M
for image in plain subclusters old wide; do
    qemu-io -f qcow2 -c 'write -P 5 0 20k' -c 'write -z 32k 16k' -c 'write -P 6 900k 2k' $image >/dev/null
    qemu-img snapshot -c s1 $image
    [ $image = old ] || qemu-img bitmap --add -g 4k $image b0
    qemu-io -f qcow2 -c 'write -P 7 4k 8k' $image >/dev/null
done
qemu-img convert -c -O qcow2 -o cluster_size=1k plain packed
images=(plain subclusters old wide packed)
sizes=()
for image in "${images[@]}"; do sizes+=("$(stat -c %s "$image")"); done

header=(8 16 20 24 32 36 40 48 56 60 64 72 80 88 96 100 104 108 112 120 128 136 144)
words=('\0\0\0\0\0\0\0\0' '\377\377\377\377\377\377\377\377' '\200\0\0\0\0\0\0\0' '\200\0\0\0\0\0\002\0'
    '\0\0\0\0\0\0\004\0' '\0\0\0\0\0\0\020\0' '\0\0\0\0\0\0\020\001' '\0\0\0\0\0\0\0\067'
    '\0\0\0\001\0\0\0\001' '\177\377\377\377\177\377\377\377' '\0\377\377\377\377\377\376\0'
    '\200\0\0\0\0\001\0\0' '\300\0\0\0\0\0\020\0' '\200\0\0\0\200\0\0\0')
damage() {
    local at i which=$((RANDOM % ${#images[@]}))
    cp "${images[which]}" disk
    for ((i = RANDOM % 3; i >= 0; i--)); do
        at=${header[RANDOM % ${#header[@]}]}
        [ $((RANDOM % 4)) = 0 ] || at=$((RANDOM % (sizes[which] / 8) * 8))
        printf "${words[RANDOM % ${#words[@]}]}" | dd of=disk bs=1 seek=$at conv=notrunc status=none
    done
    cp disk damaged
}

# The sanitizers need far more address space than the tools do.
limit=(prlimit --as=1073741824)
! nm "$img" 2>/dev/null | grep -q '__[at]san_init' || limit=()
command -v prlimit >/dev/null || limit=()
survives() {
    run timeout -s KILL 20 "${limit[@]}" "$@"
    [ "$status" -lt 97 ] || fail "exit code $status of $* (seed $seed, round $round)"
    ! grep -q 'Sanitizer\|runtime error\|CRITICAL' err || fail "$* (seed $seed, round $round)"
}

for ((round = 0; round < rounds; round++)); do
    damage
    for command in 'check' 'info' 'map' 'snapshot -l'; do
        survives "$img" $command disk
    done
    survives "$img" convert -f qcow2 -O raw disk out.raw
    case $((RANDOM % 8)) in
    0) survives "$img" snapshot -a s1 disk ;;
    1) survives "$img" snapshot -d s1 disk ;;
    2) survives "$img" snapshot -c s2 disk ;;
    3) survives "$img" bitmap --add disk b1 ;;
    4) survives "$img" bitmap --remove disk b0 ;;
    5) survives "$img" resize -q disk 3M ;;
    6) survives "$img" resize -q --shrink disk 64k ;;
    7) survives "$img" amend -f qcow2 -o compat=1.1 disk ;;
    esac
    survives "$io" -f qcow2 -c 'write -P 1 0 64k' -c 'discard 0 32k' -c 'write -c 64k 16k' \
        -c 'write -z 900k 64k' -c 'read 0 1M' disk
    cp damaged disk
    survives "$img" check -r all disk
    if [ "$status" = 0 ]; then
        survives "$img" check disk
        [ "$status" = 0 ] || fail "not sound after its repair (seed $seed, round $round)"
    fi
done
