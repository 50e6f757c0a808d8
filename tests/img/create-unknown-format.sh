#!/bin/bash
# SPDX-License-Identifier: MIT
# Formats that are not known or cannot be created.
. "$(dirname "$0")/lib.sh"

refused "a: Unknown file format 'foo'" create -f foo a 1M
refused "a: Format driver 'null-co' does not support image creation" create -f null-co a 1M
refused "null-co://: Protocol driver 'null-co' does not support image creation" create null-co:// 1M
refused "foo:a: Unknown protocol 'foo'" create foo:a 1M
