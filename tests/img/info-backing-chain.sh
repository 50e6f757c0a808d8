#!/bin/bash
# SPDX-License-Identifier: MIT
# --backing-chain: one block for each image, a list in JSON, and no endless loop.
. "$(dirname "$0")/lib.sh"

mkdir dir
ok create -q -f raw dir/base 1M
ok create -q -f qcow2 -b base -F raw dir/mid
ok create -q -f qcow2 -b dir/mid -F qcow2 top
ok info --backing-chain top
[ "$(grep -c '^image: ' out)" = 3 ] && [ "$(grep -c '^$' out)" = 2 ] || fail 'three images'
[ "$(sed -n 's/^image: //p' out | tr '\n' ' ')" = 'top dir/mid dir/base ' ] || fail 'order'
ok info --backing-chain --output=json top
python3 - <<'END' || fail 'JSON'
import json
chain = json.load(open('out'))
assert [i['filename'] for i in chain] == ['top', 'dir/mid', 'dir/base']
assert [i['format'] for i in chain] == ['qcow2', 'qcow2', 'raw']
assert chain[0]['format-specific']['data']['compat'] == '1.1'
assert list(chain[0]) == ['children', 'backing-filename-format', 'virtual-size', 'filename',
                          'cluster-size', 'format', 'actual-size', 'format-specific',
                          'full-backing-filename', 'backing-filename', 'dirty-flag'], list(chain[0])
END

# Round in circles, also by different names for one file.
ok create -q -f qcow2 -u -b dir/../loop -F qcow2 loop 1M
refused "Backing file 'dir/../loop' creates an infinite loop." info --backing-chain loop
ok create -q -f qcow2 -u -b b -F qcow2 a 1M
ok create -q -f qcow2 -u -b a -F qcow2 b 1M
refused "Backing file 'a' creates an infinite loop." info --backing-chain --output=json a
ok info a
ok create -q -f qcow2 -u -b gone -F qcow2 lost 1M
refused "Could not open 'gone': Could not open 'gone': No such file or directory" \
    info --backing-chain lost
