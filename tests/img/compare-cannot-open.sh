#!/bin/bash
# SPDX-License-Identifier: MIT
# Exit code 2 when an image cannot be opened.
. "$(dirname "$0")/lib.sh"

make_image a
two() {
    run "$img" compare "${@:2}"
    expect_status 2 "$@"
    expect_err "$name: $1"
}
two "Could not open 'none': Could not open 'none': No such file or directory" a none
two "Could not open 'none': Could not open 'none': No such file or directory" none a
two "Could not open 'a': Unknown driver 'foo'" -F foo a a
two 'Invalid source cache option: foo' -T foo a a
