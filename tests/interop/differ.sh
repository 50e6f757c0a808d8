# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What differential.sh and differential-io.sh share: running command lines with the system's
# tool and with ours, called by the same name, each in a fresh copy of the directory template.
# Whoever uses it has normalise(), which evens out what may differ in any output (of the file
# $1; the words of the command line are in the array words), and $wanted: what to run, the
# first words of command lines or names of groups, " " before and behind each; two blanks: all.

# link_as NAME PROGRAM: the program by that name in the directory mini, with links as are needed.
link_as() {
    mkdir -p mini
    ln -s "$(realpath "$2")" "mini/$1"
}

# Everything but where in the file things are, and how long it is: the format leaves that free.
describe_qcow2() {
    echo "--- $1"
    qemu-img info -U "$1" | grep -v '^disk size' |
        sed 's/ [0-9-]\{10\} [0-9][0-9]:[0-9][0-9]:[0-9][0-9] / DATE /'
    qemu-img check -U "$1" 2>&1 | grep -v '^Image end offset'
    qemu-img map -U --output=json "$1" 2>&1 | sed 's/, "offset": [0-9]*//'
    qemu-img convert -U -O raw "$1" content && [ "$(stat -c %s content)" -le 67108864 ] &&
        md5sum <content
    rm -f content
}

# What is in the directory run: a line each with all that a change alters, sorted by name. Of
# directories the name alone, for their times change with what is in them.
list_run() {
    (cd run && find . -mindepth 1 \( -type d -printf '%P\td\n' \) -o \
        -printf '%P\t%y %s %T@ %C@ %i %m\n') | LC_ALL=C sort
}

# Makes run the same as template. Copying all of it for each command line would take most of
# the time, so only what has changed since is copied again.
fresh_run() {
    local path
    if [ ! -d run ]; then
        cp -a --sparse=always template run
    else
        list_run >run.now
        cmp -s run.list run.now && return
        LC_ALL=C comm -3 run.list run.now | sed 's/^\t//' | cut -f 1 | LC_ALL=C sort -u >run.changed
        while IFS= read -r path; do
            rm -rf "run/$path"
        done <run.changed
        while IFS= read -r path; do
            [ ! -e "template/$path" ] || [ -e "run/$path" ] ||
                cp -a --sparse=always "template/$path" "run/$path"
        done <run.changed
    fi
    list_run >run.list
}

# one_run PROGRAM RESULT FILES...: $input goes to its standard input, escapes interpreted.
one_run() {
    local program=$1 result=$2 code=0 file
    shift 2
    fresh_run
    printf '%b' "$input" >in
    (cd run && exec timeout 10 "$program" "${words[@]}" >../out 2>../err <../in) || code=$?
    {
        echo "exit code $code"
        echo "--- stdout"
        normalise out
        echo "--- stderr"
        sed -e "s|^/.*/\([a-z-]*: \)|\1|" -e "s|#block[0-9]*|#block|" err
        for file; do
            if [ "${file##*.}" = qcow2 ]; then
                (cd run && describe_qcow2 "$file")
                continue
            fi
            echo "--- $file: $(stat -c %s "run/$file" 2>&1)"
            [ -e "run/$file" ] && [ "$(stat -c %s "run/$file")" -le 67108864 ] && md5sum <"run/$file"
        done
    } >"$result"
}

# compare_lines NAME FILE: the lines of FILE, but for those in the file of differences that goes
# with it. "# == NAME" begins a group; other lines are:
#   WORDS [< INPUT] [> FILE...]
compare_lines() {
    local theirs count=0 failed=0 line all group command files input words
    theirs=$(command -v "$1")
    while IFS= read -r line; do
        case $line in
        '# == '*) group=${line#\# == } ;&
        '' | '#'*) continue ;;
        esac
        command=${group:-${line%% *}}
        [ "$wanted" = '  ' ] || [[ $wanted = *" $command "* ]] || continue
        files= input=
        [[ $line = *' > '* ]] && files=${line##* > }
        line=${line% > *}
        grep -qFe "$line	" "$here/${2/commands/differences}" && continue
        all=$line
        [[ $line = *'< '* ]] && input=${line#*< }
        line=${line%%< *}
        eval "words=($line)"
        # shellcheck disable=SC2086
        one_run "$theirs" theirs $files
        # shellcheck disable=SC2086
        one_run "$PWD/mini/$1" ours $files
        count=$((count + 1))
        if ! cmp -s theirs ours; then
            failed=$((failed + 1))
            echo "== $1 $all"
            diff theirs ours
        fi
    done <"$here/$2"
    echo "$count command lines, $failed different"
    rm -f out err
    [ "$failed" = 0 ] || exit 1
}
