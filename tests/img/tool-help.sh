#!/bin/bash
# SPDX-License-Identifier: MIT
# Help of the tool and of every subcommand: exit code 0, every option named.
. "$(dirname "$0")/lib.sh"

ok --help
expect_out_has '^usage: '
expect_out_has '^  convert '
for command in bench compare convert create info map; do
    ok "$command" --help
    expect_out_has "^usage: $name $command "
    expect_out_has '^Example:'
    ok "$command" -h
done
ok convert --help
for option in -f -O -p -q -n -S -m -W -t -T -U -o -r --salvage --target-is-zero --image-opts; do
    grep -q -e "$option" out || fail "convert --help does not tell of $option"
done

# What is offered as a format can be named as one.
formats=$(sed -n 's/^Supported formats: //p' <("$img" --help))
[[ " $formats " == *" raw "* && " $formats " == *" qcow2 "* ]] || fail "formats: '$formats'"
