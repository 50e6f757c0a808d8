#!/bin/bash
# SPDX-License-Identifier: MIT
# The options of qemu-io-mini itself, and the same ones of its command open.
. "$(dirname "$0")/lib.sh"

works() {
    run "$io" "$@"
    expect_status 0 "$@"
    expect_err ''
}

ok create -q -f qcow2 base 1M
ok create -q -f qcow2 -b base -F qcow2 a
make_full r 1M
works --version
expect_out_has "^$(basename "$io") version "
run "$io" -V
expect_out_has "^$(basename "$io") version "
works --image-opts -c length driver=qcow2,file.filename=a
works --object secret,id=s,data=x -c length a
run "$io" --object foo,id=s -c length a
expect_status 1
run "$io" --no-external -c length a
expect_status 1
expect_err_has 'only the image itself names it'
works --no-external -c length base
works -T 'blk*' -c length a
works --trace 'blk*' -c length a
works -m -f raw -c 'read -q 0 64k' r
works --misalign -f raw -c 'write -q -P 5 100 1000' -c 'read -q -P 5 100 1000' r
works -d ignore -f raw -c 'discard -q 0 64k' -c 'read -q -P 5 100 1000' r
works -c 'open -d unmap -o driver=raw r' -c 'discard -q 0 64k' -c 'read -q -P 0 0 64k'
run "$io" -d often -c length a
expect_status 1
works -c 'open a' -c close -c 'open base' -c length
expect_out '1 MiB'
run "$io" -c 'open a' -c close -c length
expect_err_has 'no file open, try'

# For reading only, and for a while.
run "$io" -r -c 'write 0 512' base
expect_status 1
run "$io" -c 'open -r base' -c 'write 0 512'
expect_status 1
sha256sum base r >before
works -c 'open -s -o driver=qcow2 base' -c 'write -q -P 1 0 64k' -c 'read -q -P 1 0 64k'
works -s -f raw -c 'write -q -P 1 0 64k' -c 'read -q -P 1 0 64k' r
sha256sum -c --quiet before || fail 'an image was written to'

# Copies of what is read.
works -c 'write -q -P 1 0 64k' base
works -c 'open -C a' -c 'read -q -P 1 0 64k'
"$img" map a >out
expect_out_has '^0 *0x10000 .* a$'

# A program that crashes.
status=0
bash -c 'ulimit -c 0; "$1" -c abort a; exit' bash "$io" >out 2>err || status=$?
expect_status 134

# Somebody writes to it meanwhile.
mkfifo hold
"$io" base <hold >/dev/null 2>&1 &
exec 9>hold
at_exit 'exec 9>&-; wait'
wait_for_lock base 100
run "$io" -c length base
expect_status 1
works -r -U -c length base
works --read-only --force-share -c length base
works -c 'open -r -U base' -c length

# Past the page cache.
(requires_direct) >/dev/null || exit 0
works -n -f raw -c 'read -q 0 64k' r
works --nocache -k -f raw -c 'read -q 0 64k' r
works -t none --native-aio -f raw -c 'read -q 0 64k' r
works -n -i native -f raw -c 'read -q 0 64k' r
works --cache=none --aio=threads -f raw -c 'read -q 0 64k' r
for options in -n '-t none' '-n -k' '-t directsync -k' '-n -i native' '-t writethrough -i threads'; do
    works -c "open $options -o driver=raw r" -c 'read -q 0 64k'
done
works -c 'open -n -k -o driver=raw r' -c 'read -q 0 64k'
works -c 'open -t none -i native -o driver=raw r' -c 'read -q 0 64k'
