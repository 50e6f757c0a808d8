#!/bin/bash
# SPDX-License-Identifier: MIT
# Help of the tool and of every subcommand: exit code 0, every option named.
. "$(dirname "$0")/lib.sh"

ok --help
expect_out_has '^usage: '
expect_out_has '^  convert '
commands=$(sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p' out)
[[ $(wc -w <<<"$commands") -ge 15 ]] || fail 'commands are missing'
for command in $commands; do
    ok "$command" --help
    expect_out_has "^usage: $name $command "
    # One sentence or so that begins with what the command does, in a line of its own.
    sed -n 2p out | grep -qE '^[A-Z][a-z]+s,? .*\.$' || fail "$command: its summary is in another style"
    expect_out_has '^Examples*:$'
    [[ $(wc -L <out) -le 110 ]] || fail "$command: the lines of its help are long"
    ok "$command" -h
done
ok convert --help
for option in -f -O -p -q -n -S -m -W -t -T -U -o -r --salvage --target-is-zero --image-opts; do
    grep -q -e "$option" out || fail "convert --help does not tell of $option"
done

# What is offered as a format can be named as one.
formats=$(sed -n 's/^Supported formats: //p' <("$img" --help))
[[ " $formats " == *" raw "* && " $formats " == *" qcow2 "* ]] || fail "formats: '$formats'"
