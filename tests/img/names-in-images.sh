#!/bin/bash
# SPDX-License-Identifier: MIT
# A backing file's name that comes from an image is the name of a plain file, never JSON or a
# protocol's business; "file:" may stand before it.
. "$(dirname "$0")/lib.sh"

truncate -s 1M base
for bad in 'json:{"driver":"raw","file":{"filename":"base"}}' null-co:// nbd:localhost:1; do
    ok create -q -f qcow2 -u -b "$bad" -F raw ov 1M
    ok info ov
    run "$img" map ov
    expect_status 1
    expect_err_has 'only plain file names are followed from within an image'
    run "$img" info --backing-chain ov
    expect_status 1
    expect_err_has 'only plain file names are followed from within an image'
done
ok create -q -f qcow2 -b file:base -F raw ov
ok map ov
