#!/bin/bash
# SPDX-License-Identifier: MIT
# Each option that --help names, of every command of both tools, stands in a script here, behind the
# command that has it; and so does each command of qemu-io-mini.
. "$(dirname "$0")/lib.sh"

# All scripts but this one, without comments, a command on one line.
for script in "$here"/*.sh; do
    [ "$script" = "$here/$(basename "$0")" ] || cat "$script"
done | sed -E -e :a -e '/\\$/{N; s/\\\n[ \t]*/ /; ta' -e '}' -e '/^ *#/d' >scripts

# Is one of the options $2 (-f/--format) in a line behind $1 (an expression)?
named() {
    local option pattern
    for option in ${2//\// }; do
        case $option in
        --*) pattern="$option" ;;
        *) pattern="-[a-zA-Z0-9]*${option#-}" ;;
        esac
        grep -qE -e "$1 ([^|;&]*[ '\"(])?$pattern([^a-zA-Z-]|\$)" scripts && return 0
    done
    return 1
}

missing=0
check_option() {
    named "$2" "$3" || { echo "no script has $1 $3"; missing=1; }
}

commands=$("$img" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 15 ] || fail "commands: $commands"
for command in $commands; do
    "$img" "$command" --help | sed -nE 's/^ {2,6}(-[^ ].*)$/\1/p' |
        sed -E 's/  +.*$//; s/=[^ ,]+//g; s/ [A-Za-z][^ ,]*//g; s/, /\//g' | grep -v -e '^-h' >list
    [ "$(wc -l <list)" -ge 3 ] || fail "options of $command: $(cat list)"
    while read -r option; do check_option "$command" "(^|[ '\"(])$command" "$option"; done <list
done

"$io" --help | sed -nE 's/^ {2,6}(-[^ ].*)$/\1/p' |
    sed -E 's/  +.*$//; s/=[^ ,]+//g; s/ [A-Za-z][^ ,]*//g; s/, /\//g' | grep -v -e '^-h' >list
while read -r option; do check_option qemu-io-mini "(\"\\\$io\"|works)" "$option"; done <list
for command in $("$io" -c help | sed -n 's/^\([a-z_]*\) .*-- .*/\1/p'); do
    grep -qE -e "(^|[ '\"(])$command([ '\"]|\$)" scripts || { echo "no script has $command"; missing=1; }
    "$io" -c "help $command" | sed -nE 's/^ (-[a-zA-Z]).*/\1/p' >list
    while read -r option; do
        check_option "qemu-io-mini: $command" "(^|[ '\"(])$command" "$option"
    done <list
done
[ $missing = 0 ] || fail 'options without a test'
