#!/bin/bash
# SPDX-License-Identifier: MIT
# What a command has written is not on the disk when the flush at its very end fails: it says so, and has
# failed.
. "$(dirname "$0")/lib.sh"

# As options: the image $1, no flush of which reaches the disk.
unflushed() {
    echo "driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=flush_to_disk,file.image.driver=file,file.image.filename=$1"
}

fails() {
    run "$@"
    expect_status 1 "$*"
    expect_err_has 'Input/output error'
}

for image in a b; do
    "$img" create -q -f qcow2 $image 4M
done
head -c 64k /dev/urandom >src
fails "$img" bench -w -c 10 --image-opts "$(unflushed a)"
fails "$img" convert -n --target-image-opts -t writeback src "$(unflushed b)"

# The image is closed at the end, by a command, and when it is opened in another way.
fails "$io" --image-opts -c 'write 0 64k' "$(unflushed a)"
fails "$io" --image-opts -c 'write 0 64k' -c close "$(unflushed a)"
fails "$io" --image-opts -c 'write 0 64k' -c 'reopen -r' "$(unflushed a)"
fails bash -c "echo 'write 0 64k' | '$io' --image-opts '$(unflushed a)'"
run "$io" --image-opts -c 'read 0 64k' "$(unflushed a)"
expect_status 0 'nothing was written'
