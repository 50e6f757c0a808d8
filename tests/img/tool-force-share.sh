#!/bin/bash
# SPDX-License-Identifier: MIT
# Every command that reads takes -U, --force-share, with which it reads an image that somebody writes to.
. "$(dirname "$0")/lib.sh"
requires qemu-io

ok create -q -f qcow2 q 1M
cp q same
hold_for_writing q

shared() {
    run "$img" "${@:1:1}" "${@:3}"
    [ "$status" != 0 ] || fail "$* does not respect the lock"
    expect_err_has 'Failed to get shared "write" lock'
    ok "$@"
    ok "$1" --force-share "${@:3}"
}

shared bench -U -c 1 -f qcow2 q
shared check -U q
shared compare -U q same
shared convert -U q x
shared dd -U if=q of=y
shared info -U q
shared map -U q
shared measure -U -O qcow2 q
for command in 'rebase -U -u -b same -F qcow2 q' 'rebase --force-share -b same -F qcow2 q'; do
    # shellcheck disable=SC2086
    run "$img" $command
    expect_status 1 "$command"
done
