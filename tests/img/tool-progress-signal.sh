#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGUSR1 shows how far a command is, -p asked for or not: those that read an image that is slow, and
# those that write much.
. "$(dirname "$0")/lib.sh"

# Command line $@, to which SIGUSR1 is sent once it has begun.
signalled() {
    local i
    rm -f lines
    "$img" "$@" >out 2>err 7>lines </dev/null &
    for i in $(seq 1000); do
        [ -s lines ] && break
        sleep 0.01
    done
    kill -s USR1 $!
    status=0
    wait $! || status=$?
    expect_status 0 "$@"
    expect_err_has '^    ([0-9.]*/100%)'
}

# 64 L2 tables; 50 are read in a second.
"$img" create -qf qcow2 -o cluster_size=512 a 2M
for i in $(seq 0 63); do echo "write -P 1 $((i * 32))k 512"; done | "$io" a >out || fail 'no image'
slow=(--object throttle-group,id=slow,x-iops-total=50 --image-opts --progress=json:7)
slow_image=driver=qcow2,file.driver=throttle,file.throttle-group=slow,file.file.driver=file,file.file.filename=a

signalled check "${slow[@]}" "$slow_image"
grep -q '^No errors' out || fail 'no result'
signalled measure -O qcow2 "${slow[@]}" "$slow_image"
grep -q '^required size' out || fail 'no result'
signalled dd "${slow[@]}" bs=512 "if=$slow_image" of=b
signalled create --progress=json:7 -o preallocation=full c 400M
truncate -s 4k c
signalled resize --progress=json:7 -f raw --preallocation=full c 400M
