#!/bin/bash
# SPDX-License-Identifier: MIT
# On a terminal an error does not stand behind the line of the progress.
. "$(dirname "$0")/lib.sh"

requires script
make_full a 1M
script -qc "'$img' convert -p -f raw -O qcow2 a no-directory/b" /dev/null >out 2>err </dev/null
tr '\r' '\n' <out | grep -q "^$name: no-directory/b: " || fail 'the error begins no line'
# And there is no empty line behind it.
[ -n "$(tail -n 1 out | tr -d '\r\n ')" ] || fail 'an empty line'
