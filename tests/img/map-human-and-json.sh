#!/bin/bash
# SPDX-License-Identifier: MIT
# map: the table for people, the lines of JSON, a part of an image, compressed clusters.
. "$(dirname "$0")/lib.sh"

make_image raw
ok create -q -f qcow2 -b raw -F raw ov 17M
ok map ov
expect_out 'Offset          Length          Mapped to       File
0x100000        0x10000         0x100000        raw
0x503000        0x1000          0x503000        raw
0xfff000        0x1000          0xfff000        raw'
ok map --output=json -s 1M -l 4206592 ov
expect_out '[{ "start": 1048576, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "offset": 1048576},
{ "start": 1114112, "length": 4141056, "depth": 1, "present": true, "zero": true, "data": false, "offset": 1114112}]'
ok map --output=json --start-offset=16M --max-length=7E ov
expect_out '[{ "start": 16777216, "length": 1048576, "depth": 0, "present": false, "zero": true, "data": false}]'
ok convert -c -f raw -O qcow2 raw packed
run "$img" map packed
expect_status 1
expect_err "$name: File contains external, encrypted or compressed clusters."
ok map --output=json packed
expect_out_has '"present": true, "zero": false, "data": true}'
