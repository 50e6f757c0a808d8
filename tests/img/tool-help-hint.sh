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
