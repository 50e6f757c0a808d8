#!/bin/bash
# SPDX-License-Identifier: MIT
# Who mistypes on a terminal is sent to the help of the command; scripts get qemu-img's words.
. "$(dirname "$0")/lib.sh"

requires script
# A terminal shows what the words $@ of the command line lead to, without carriage returns.
on_terminal() {
    script -qec "'$img' $*" /dev/null </dev/null | tr -d '\r' >out
    expect_out_has "^Try '$name ${1%% *} --help' for more information$"
    [ "$(grep -c '^Try' out)" = 1 ] || fail 'two hints'
}
on_terminal resize disk.img
on_terminal convert
on_terminal dd if=disk.img
on_terminal bitmap disk.img name
on_terminal info --nonsense disk.img

run "$img" info --nonsense disk.img
expect_err "$(printf '%s\n' "$name: unrecognized option '--nonsense'" "Try '$name --help' for more information")"
refused 'Must specify image file name' convert

# What is known to help is said behind QEMU's message, on a terminal alone.
hinted() {
    script -qec "$2" /dev/null </dev/null | tr -d '\r' >out
    expect_out_has "$1"
    run bash -c "$2"
    cat out err >both
    ! grep -q "$1" both || fail "without a terminal: $1"
}
make_full disk.img 64k
"$img" create -q -f qcow2 disk.qcow2 1M
hinted "^Try '$name snapshot --help'" "'$img' snapshot disk.qcow2"
hinted '^Native AIO goes with ' "'$img' bench -f raw -i native disk.img"
hinted "^'help' lists the commands$" "'$io' -f raw -c nonsense disk.img"
hinted "^'help read' explains them$" "'$io' -f raw -c read disk.img"
hinted '^Break points take the driver blkdebug' "'$io' -f raw -c 'break write_aio A' disk.img"
hinted '^There can be one file only$' "'$io' disk.img disk.img"
script -qec "'$img' create -f qcow2 -b disk.qcow2 top.qcow2; echo next" /dev/null </dev/null | tr -d '\r' >out
expect_out_has '^next$'
