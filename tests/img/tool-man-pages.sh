#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual pages have every command and option that --help prints, each in its command's
# section, and are sound where there is a program that can tell.
. "$(dirname "$0")/lib.sh"

pages=$here/../../docs/man
requires_file "$pages"

# Page $1 as plain text with neither fonts nor escapes, for the section $2 of its commands (all if none).
plain() {
    awk -v section="$2" '
        /^\.S[SH] / { inside = section == "" || $0 == ".SS " section }
        inside' "$pages/$1" |
        sed -E 's/^\.(BI|BR|IR|RB|RI|IB|B|I) //; s/\\f[BIRP]//g; s/\\-/-/g; s/ "|"//g; s/\\[^ ]//g'
}

# The options of a --help on stdin, one each line: "-f", "--format".
options() {
    sed -nE 's/^ {2,6}(-[^ ].*)$/\1/p' | sed -E 's/  +.*//' | grep -oE -e '(^|[ ,])--?[A-Za-z][a-z-]*' | tr -d ' ,'
}

# Every option on stdin is explained in the file text.
explained() {
    local option found=0
    while read -r option; do
        found=1
        grep -qE -e "(^|[^a-zA-Z-])$option([^a-zA-Z-]|\$)" text || fail "$1: $option is not explained"
    done
    [ $found = 1 ] || fail "$1: no option in its --help"
}

commands=$("$img" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p')
[ -n "$commands" ] || fail 'no commands in --help'
plain qemu-img-mini.1 '' >text
"$img" --help | options | explained 'the tool' || exit 1
for command in $commands; do
    plain qemu-img-mini.1 "$command" >text
    grep -q "^$command" text || fail "no section about $command"
    # Said once for all commands.
    echo '--help -h' >>text
    "$img" "$command" --help >help 2>err || continue # tool-help.sh sees to that
    options <help | explained "$command" || exit 1
done

plain qemu-io-mini.1 '' >text
"$io" --help | options | explained qemu-io-mini || exit 1
for command in $("$io" -c help | sed -n 's/^\([a-z_]*\) .*-- .*/\1/p'); do
    grep -qE "^$command( |\$)" text || fail "qemu-io-mini: $command is not explained"
    "$io" -c "help $command" | sed -nE 's/^ (-[a-zA-Z]).*/\1/p' >letters
    grep "^$command" text >synopsis
    while read -r letter; do
        # -p has no effect and is not told of.
        [ "$letter" = -p ] || grep -qE -e "-[a-zA-Z]*${letter#-}" synopsis ||
            fail "qemu-io-mini: $command $letter is not in its synopsis"
    done <letters
done

for page in "$pages"/*.1; do
    if command -v groff >/dev/null; then
        groff -man -ww -z -Tutf8 "$page" >out 2>err || fail "groff: $page"
        expect_err ''
    fi
    if command -v mandoc >/dev/null; then
        mandoc -T lint -W error "$page" >out 2>err || fail "mandoc: $page"
    fi
done
