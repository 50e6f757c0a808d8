#!/bin/bash
# SPDX-License-Identifier: MIT
# The completion script knows commands, options of a command, formats and file names.
. "$(dirname "$0")/lib.sh"

completion=$here/../../qemu-img-mini/completion/qemu-img-mini.bash
requires_file "$completion"

# complete_line WORDS...: what bash would offer for the last word, sorted, in the file out.
complete_line() {
    bash -c '
        . "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _qemu_mini
        printf "%s\n" "${COMPREPLY[@]}" | LC_ALL=C sort' _ "$completion" "$@" >out 2>err
    [ -s err ] && fail "the completion script complains"
}

offers() {
    local word
    for word; do
        grep -qxFe "$word" out || fail "'$word' is not offered"
    done
}

touch disk.img zother.txt
complete_line "$img" ''
offers bench compare convert create info
complete_line "$img" conv
expect_out convert
complete_line "$img" convert -
offers -O -p -c --target-image-opts --help
complete_line "$img" convert --target-
expect_out "$(printf '%s\n' --target-image-opts --target-is-zero)"
complete_line "$img" convert -O qc
expect_out qcow2
complete_line "$img" convert -t write
expect_out "$(printf '%s\n' writeback writethrough)"
complete_line "$img" info --output = j
expect_out json
complete_line "$img" info --output =
offers human json
complete_line "$img" info d
expect_out disk.img
complete_line "$img" info -f raw zo
expect_out zother.txt

# qemu-io-mini has no subcommands: options, their values, commands behind -c, images.
complete_line "$io" -
offers -c --cmd -f -r --no-external --cache --discard
complete_line "$io" --no-
expect_out --no-external
complete_line "$io" -t un
expect_out unsafe
complete_line "$io" --discard = i
expect_out ignore
complete_line "$io" -f qc
expect_out qcow2
complete_line "$io" -c aio_
expect_out "$(printf '%s\n' aio_flush aio_read aio_write)"
complete_line "$io" -r d
expect_out disk.img
