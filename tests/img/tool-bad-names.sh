#!/bin/bash
# SPDX-License-Identifier: MIT
# Names of images that are megabytes of garbage, or nested without end: an error that ends with the
# reason, no crash, and what comes next is done.
. "$(dirname "$0")/lib.sh"

# $1, $2 times.
repeat() {
    local blanks
    printf -v blanks "%$2s" ''
    printf '%s' "${blanks// /$1}"
}

# The output is too long to be shown.
give_up() { rm -f out err; fail "$@"; }

ends_with() { tail -c 300 err | grep -q -e "$1\$" || give_up "$2: the message does not end with: $1"; }

# The tool with arguments as long as the kernel takes; $1: the end of the message.
bad() {
    run timeout 20 "$img" "${@:2}"
    [ "$status" = 1 ] || give_up "exit code $status instead of: $1"
    ends_with "$1" "${2} ${3:0:20}"
}

nested='Could not parse the JSON options: JSON nesting depth limit exceeded'
bad "$nested" info "json:$(repeat '[' 100000)"
bad "$nested" info "json:$(repeat '{"file":' 10000)"
bad "$nested" map "json:$(repeat '{"file":' 9000)1$(repeat '}' 9000)"
bad 'Must specify either driver or file' info "json:$(repeat '{"file":' 5)\"json:{}\"$(repeat '}' 5)"
bad 'File name too long' info "$(repeat x 120000)"
bad 'File name too long' check "$(repeat file: 20000)x"
bad 'More than 500 nodes on top of each other' info "$(repeat blkdebug:: 10000)x"
bad 'No such file or directory' info "$(repeat blkverify:x: 10000)x"
bad 'Must specify either driver or file' info --image-opts "driver=raw,$(repeat file. 10000)filename=x"
bad 'Must specify either driver or file' info --image-opts "$(repeat a=b, 25000)"
bad 'x=1,' create -f qcow2 -o "$(repeat x=1, 10000)" q 1M
bad 'Could not open backing image.' create -f qcow2 -b "$(repeat x 100000)" -F raw q 1M
[ ! -e q ] || fail 'an image was made'

# Ten megabytes in a line of qemu-io-mini; $1: the beginning, $2: what is repeated, $3: the end of the message.
truncate -s 1M a
megabytes() {
    {
        printf '%s' "$1"
        yes "$2" | tr -d '\n' | head -c 10000000
        printf '\nlength\nopen -o driver=raw a\nlength\n'
    } >commands
    status=0
    timeout 50 "$io" <commands >out 2>err || status=$?
    [ "$status" = 1 ] || give_up "$1: exit code $status"
    tail -n 3 out | grep -q '1 MiB$' || give_up "$1: the last command was not obeyed"
    grep -v '^no file open' err >message
    mv message err
    ends_with "$3" "$1"
}
megabytes 'open ' x 'File name too long'
megabytes 'open json:' '[' 'Could not parse the JSON options: longer than 1048576 bytes'
megabytes 'open json:' '{"file":' 'Could not parse the JSON options: longer than 1048576 bytes'
megabytes 'open blkdebug:' :blkdebug: 'File name too long'
megabytes 'open -o file' .file 'Must specify either driver or file'
