#!/bin/bash
# SPDX-License-Identifier: MIT
# With -p commands that take long show percents up to 100 before the result; with -q, where there is
# one, and without -p they do not.
. "$(dirname "$0")/lib.sh"

figures() { tr '\r' '\n' <out | grep '^    ([0-9.]*/100%)$' >figures; }

# Command line $@, whose -p comes second.
shows() {
    ok "$@"
    figures
    [ "$(head -n 1 figures)" = '    (0.00/100%)' ] || fail "$1: first figure"
    [ "$(tail -n 1 figures)" = '    (100.00/100%)' ] || fail "$1: last figure"
    tr '\r' '\n' <out | grep -v '^    (' | grep . >rest
}

silent() {
    ok "$@"
    figures
    [ ! -s figures ] || fail "$* shows figures"
}

make_image a
"$img" convert -O qcow2 a q
shows check -p q
grep -q '^No errors' rest || fail 'check has no result'
silent check q
silent check -p -q q
shows dd -p if=a of=b
silent dd if=a of=b
shows measure -p -O qcow2 q
grep -q '^required size: ' rest || fail 'measure has no result'
silent measure -O qcow2 q
shows resize -p --preallocation=full q 40M
# All of the new area, slice by slice.
[ "$(wc -l <figures)" -ge 2 ] || fail 'too few figures'
[ "$(cat rest)" = 'Image resized.' ] || fail 'resize has no result'
silent resize -p -q q 41M
shows resize -p -f raw --preallocation=full a 100M
[ "$(wc -l <figures)" -ge 6 ] || fail "too few figures"
shows create -p -o preallocation=full c 40M
grep -q '^Formatting ' rest || fail 'create says nothing'
silent create -o preallocation=full c 4M
shows create -p -f qcow2 -o preallocation=full c 80M
[ "$(wc -l <figures)" -ge 3 ] || fail 'too few figures'
shows amend -p -o lazy_refcounts=on q
silent amend -p -q -o lazy_refcounts=off q

# A repair: its own check is the second half.
cp q damaged
printf '\0\3' | dd of=damaged bs=1 seek=131074 conv=notrunc status=none # a refcount
run "$img" check -p -r all damaged
expect_status 0 'check -r'
figures
[ "$(tail -n 1 figures)" = '    (100.00/100%)' ] || fail 'check -r: last figure'
grep -q '50.*/100%' figures || fail 'no half'

# Snapshots: their tables are gone through one by one.
"$img" create -q -f qcow2 -o cluster_size=512 s 4M
"$io" -f qcow2 -c 'write 0 4M' s >out || fail 'no image'
for action in '-c n' '-a n' '-d n'; do
    # shellcheck disable=SC2086
    shows snapshot -p $action s
    [ "$(wc -l <figures)" -ge 50 ] || fail "snapshot $action: too few figures"
    [ ! -s rest ] || fail "snapshot $action says something"
done
"$img" snapshot --progress=json:7 -c n s 7>lines || fail 'snapshot --progress'
tail -n 1 lines | grep -q '"status": "completed", "percent": 100.00' || fail 'snapshot --progress: no end'
silent snapshot -p -q -d n s
silent snapshot -p -l s
shows bitmap -p --add --disable s b
"$img" bitmap --progress=json:7 --clear s b 7>lines || fail 'bitmap --progress'
grep -q completed lines || fail 'bitmap --progress: no end'
silent bitmap --clear s b

# An external data file is filled, and a large piece of a file gets its space bit by bit.
"$img" create -q -f qcow2 -o data_file=d.raw d 1M
shows resize -p --preallocation=full d 100M
[ "$(wc -l <figures)" -ge 5 ] || fail 'data file: too few figures'
if [ "$(stat -f -c %T .)" != tmpfs ] && [ "$(df --output=avail -k . | tail -n 1)" -gt 8000000 ]; then
    shows create -p -o preallocation=falloc f 4G
    [ "$(wc -l <figures)" -ge 4 ] || fail 'falloc: too few figures'
fi
