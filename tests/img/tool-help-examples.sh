#!/bin/bash
# SPDX-License-Identifier: MIT
# What --help shows as examples works when it is pasted, for every command of both tools.
. "$(dirname "$0")/lib.sh"

requires_direct
mkdir bin
ln -s "$(realpath "$img")" "bin/$name"
ln -s "$(realpath "$io")" "bin/$(basename "$io")"
export PATH=$work/bin:$PATH

# The images that the examples speak of, anew.
make_images() {
    rm -f -- *.img *.qcow2
    truncate -s 8G disk.img
    truncate -s 8G copy.img
    "$img" create -q -f qcow2 disk.qcow2 10M
    "$img" snapshot -c before-upgrade disk.qcow2
    for copy in newbase moved download; do
        cp disk.qcow2 "$copy.qcow2"
    done
    "$img" create -q -f qcow2 -b disk.qcow2 -F qcow2 overlay.qcow2
}

# The examples of the help on stdin.
run_examples() {
    local line count=0
    while IFS= read -r line; do
        make_images
        # A shorter benchmark shows the same.
        run bash -c "${line/-c 100000/-c 100}"
        expect_status 0 "$line"
        expect_err ''
        count=$((count + 1))
    done < <(sed -n '/^Examples*:$/,$s/^  //p')
    [ $count -gt 0 ] || fail "no example in the help of $1"
}

for command in $("$img" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p'); do
    "$img" "$command" --help >help
    run_examples "$command" <help
done
"$img" --help >help
run_examples "$name" <help
"$io" --help >help
run_examples qemu-io-mini <help
