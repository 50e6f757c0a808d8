#!/bin/bash
# SPDX-License-Identifier: MIT
# convert -C: the kernel copies what it can, and the contents are the same in any case.
. "$(dirname "$0")/lib.sh"

requires strace
requires_no_sanitizer

# convert -C "$@" under strace with -e $inject, if set; the calls are in the file trace.
offload() { run strace -f -o trace -e trace=copy_file_range ${inject:+-e "$inject"} "$img" convert -C "$@"; }
copied() { grep -c '= [1-9][0-9]*$' trace; }

make_image a
"$img" convert -O qcow2 a a.qcow2
"$img" convert -c -O qcow2 a compressed.qcow2
inject=
strace -o trace -e trace=copy_file_range true 2>/dev/null || skip 'strace does not work here'
for from in raw qcow2; do
    source=a
    [ $from = raw ] || source=a.qcow2
    for to in raw qcow2; do
        for options in '' '-W'; do
            rm -f b
            # shellcheck disable=SC2086
            offload $options -f $from -O $to $source b
            expect_status 0
            expect_out ''
            expect_err ''
            [ "$(copied)" -ge 3 ] || skip 'the kernel does not copy here'
            "$img" compare -q -f raw -F $to a b || fail "$from to $to: another content"
            # Holes stay holes: the image has 16 MiB, a few clusters of which hold data.
            [ "$(disk_kib b)" -lt 1024 ] || fail "$from to $to: $(disk_kib b) KiB on the disk"
            [ $to = raw ] || "$img" check -q -f qcow2 b || fail 'check'
        done
    done
done

# What cannot be copied below is read and written: compressed clusters, and what the kernel refuses.
offload -O raw compressed.qcow2 b
expect_status 0
[ "$(copied)" = 0 ] || fail 'compressed clusters were copied as they are'
cmp a b || fail 'from compressed clusters'
make_full big 20M
for inject in error=EXDEV error=ENOSYS error=EOPNOTSUPP error=EINVAL error=EIO error=ENOSPC \
        retval=0 error=EXDEV:when=2+2; do
    inject="inject=copy_file_range:$inject"
    rm -f b
    offload -O qcow2 -f raw big b
    expect_status 0 "$inject"
    expect_err ''
    "$img" compare -q -f raw -F qcow2 big b || fail "another content after $inject"
    "$img" check -q -f qcow2 b || fail "check after $inject"
done
# After some refusals it is not tried any more; but for one in two it is.
[ "$(grep -c copy_file_range trace)" -ge 20 ] || fail 'given up too early'
inject=inject=copy_file_range:error=EXDEV
offload -O raw -f raw big b
expect_status 0
[ "$(grep -c copy_file_range trace)" -lt 20 ] || fail 'never given up'
cmp big b || fail 'another content'

# Into an image that is there, over what it holds; a backing file below; a rate and a progress.
inject=
make_full b 16M
offload -n -f raw -O raw a b
expect_status 0
cmp a b || fail 'into an existing image'
"$img" create -q -f qcow2 -b a -F raw over.qcow2
"$io" -c 'write -P 5 1000k 100k' over.qcow2 >/dev/null
rm -f b
offload -O qcow2 -B a -F raw over.qcow2 b
expect_status 0
"$img" compare -q over.qcow2 b || fail 'over a backing file'
[ "$(disk_kib b)" -lt 600 ] || fail 'the backing file was copied'
offload -p -r 100M -f raw -O raw big b
expect_status 0
expect_out_has '100.00/100%'
cmp big b || fail 'with a rate'

# Conflicts.
for option in -c '-S 8k' --salvage; do
    # shellcheck disable=SC2086
    run "$img" convert -C $option -O qcow2 a b
    expect_status 1
    expect_err_has 'copy offloading'
done
