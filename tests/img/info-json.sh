#!/bin/bash
# SPDX-License-Identifier: MIT
# The JSON of info: keys, order, layout.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
ok info --output=json a
expect_out '{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 1048576,
                "filename": "a",
                "format": "file",
                "actual-size": 0,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "a",
    "format": "raw",
    "actual-size": 0,
    "dirty-flag": false
}'
ok info --output=json --backing-chain a
[ "$(head -1 out)" = '[' ] || fail 'a chain is a list'
refused '--output must be used with human or json as argument.' info --output=xml a
