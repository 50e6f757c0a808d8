#!/bin/bash
# SPDX-License-Identifier: MIT
# Sources that cannot be opened: no target is made.
. "$(dirname "$0")/lib.sh"

refused "Could not open 'a': Could not open 'a': No such file or directory" convert a b
mkdir dir
refused "Could not open 'dir': 'file' driver requires 'dir' to be a regular file" convert dir b
make_image a
refused "Could not open 'a': Unknown driver 'foo'" convert -f foo a b
refused "Could not open 'c': Could not open 'c': No such file or directory" convert a c b
[ ! -e b ] || fail 'there is a target'
