#!/bin/bash
# SPDX-License-Identifier: MIT
# Somebody who types sees answers before the end, and requests complete meanwhile.
. "$(dirname "$0")/lib.sh"

make_full raw 64k
mkfifo to from
"$io" -f raw raw <to >from &
exec 3>to 4<from
echo length >&3
IFS= read -r -t 10 line <&4
[ "$line" = 'qemu-io> 64 KiB' ] || fail "answered '$line'"
echo 'aio_write 0 4k' >&3
IFS= read -r -t 10 line <&4
[[ $line = *'wrote 4096/4096 bytes at offset 0' ]] || fail "answered '$line'"
exec 3>&-
wait $! || fail "exit code $?"
