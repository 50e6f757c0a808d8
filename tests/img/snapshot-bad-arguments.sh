#!/bin/bash
# SPDX-License-Identifier: MIT
# What cannot be done is said in qemu-img's words, and changes nothing.
. "$(dirname "$0")/lib.sh"

usage_error() {
    local message=$1
    shift
    run "$img" snapshot "$@"
    expect_status 1 "$@"
    expect_err_has "^$name: $message"
}

ok create -f qcow2 disk 1M
usage_error 'Expecting one image file name'
usage_error 'Expecting one image file name' disk disk
usage_error "Cannot mix '-l', '-a', '-c', '-d'" -l -c x disk
usage_error "Cannot mix '-l', '-a', '-c', '-d'" -d x -d x disk
usage_error "missing argument for option '-c'" -c
usage_error "unrecognized option '-z'" -z disk
cp disk before
ok snapshot disk
refused "Could not apply snapshot 'x': Failed to load snapshot: No such file or directory" \
    snapshot -a x disk
refused "Could not delete snapshot 'x': snapshot not found" snapshot -d x disk
refused "Could not open 'disk': force-share=on can only be used with read-only images" \
    snapshot -U -c x disk
cmp before disk || fail 'the image has changed'

# Ids are looked for by -a, not by -d.
ok snapshot -c one disk
refused "Could not delete snapshot '1': snapshot not found" snapshot -d 1 disk
ok snapshot -U -l disk
ok snapshot -l --image-opts driver=qcow2,file.filename=disk
expect_out_has '^1  *one '

# Formats without snapshots.
truncate -s 1M raw
refused "Could not create snapshot 'x': -95 (Operation not supported)" snapshot -f raw -c x raw
refused "Could not apply snapshot 'x': Block driver does not support snapshots" \
    snapshot -f raw -a x raw
refused "Could not delete snapshot 'x': snapshot not found" snapshot -f raw -d x raw
ok snapshot -f raw -l raw
expect_out ''

# A raw view of an image has the image's snapshots.
ok snapshot -c two --image-opts driver=raw,file.driver=qcow2,file.file.filename=disk
ok snapshot -l disk
expect_out_has '^2  *two '
