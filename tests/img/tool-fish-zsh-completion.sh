#!/bin/bash
# SPDX-License-Identifier: MIT
# fish and zsh know what bash knows: commands, each option of each command that --help names, formats,
# values, file names.
. "$(dirname "$0")/lib.sh"

dir=$here/../../qemu-img-mini/completion
command -v fish >/dev/null || command -v zsh >/dev/null || skip 'there is neither fish nor zsh'
mkdir bin home
ln -s "$(realpath "$img")" bin/qemu-img-mini
ln -s "$(realpath "$io")" bin/qemu-io-mini
export PATH="$work/bin:$PATH" HOME=$work/home
touch disk.img zother.txt

# What the shell offers for the last of the words, in the file out.
fish_offers() {
    fish --no-config -c 'source $argv[1]; complete -C "$argv[2]"' \
        "$dir/qemu-img-mini.fish" "$*" 2>err | cut -f 1 >out
}

zsh_offers() {
    zsh -f -c '
        compadd() { [[ $1 = -- ]] && shift; print -l -- "$@"; }
        _describe() { print -l -- ${(@)${(P)2}%%:*}; }
        _files() { print -l -- *; }
        completion=$1; shift
        words=("$@"); CURRENT=$#
        . $completion' _ "$dir/_qemu-img-mini" "$@" 2>err | grep -e "^${*: -1}" >out
}

expect_offered() {
    local word
    [ ! -s err ] || fail "$shell complains"
    for word; do
        grep -qxFe "$word" out || fail "$shell: '$word' is not offered"
    done
}

check_shell() {
    local command option
    "$1" qemu-img-mini ''
    expect_offered bench convert snapshot
    for command in convert snapshot bitmap; do
        qemu-img-mini "$command" --help | grep -oE '^ {2,6}-[^ ,=]+(, --[^ =]+)?' |
            grep -oE -e '-[^ ,]+' >options
        [ "$(wc -l <options)" -gt 8 ] || fail "options of $command"
        "$1" qemu-img-mini "$command" -
        while read -r option; do
            expect_offered "$option"
        done <options
    done
    "$1" qemu-img-mini convert -O qc
    expect_offered qcow2
    "$1" qemu-img-mini convert -t write
    expect_offered writeback writethrough
    "$1" qemu-img-mini info --output=j
    expect_offered --output=json
    "$1" qemu-img-mini info d
    expect_offered disk.img
    "$1" qemu-io-mini -f qc
    expect_offered qcow2
    "$1" qemu-io-mini -c aio_
    expect_offered aio_read aio_write
    "$1" qemu-io-mini -r z
    expect_offered zother.txt
}

for shell in fish zsh; do
    if command -v $shell >/dev/null; then
        check_shell ${shell}_offers
    fi
done
