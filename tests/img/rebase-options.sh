#!/bin/bash
# SPDX-License-Identifier: MIT
# rebase: -f names the format, -q leaves the progress of -p out, -U is refused as images are written to.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 old 4M
ok create -q -f qcow2 new 4M
"$io" -c 'write -P 1 0 1M' old >/dev/null || fail 'write'
ok create -q -f qcow2 -b old -F qcow2 q
ok convert -O raw q before
ok rebase -p -q -f qcow2 -b new -F qcow2 q
expect_out ''
ok convert -O raw q after
cmp before after
ok rebase -p -f qcow2 -b old -F qcow2 q
tr '\r' '\n' <out | grep -q '^    (100.00/100%)$' || fail 'no progress'
ok convert -O raw q after
cmp before after
# As raw it has no backing file.
run "$img" rebase -f raw -b new -F qcow2 q
expect_status 1
expect_err_has "^$name: "
