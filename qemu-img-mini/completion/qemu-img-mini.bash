# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# bash completion for qemu-img-mini and qemu-io-mini. Commands, options, formats and cache
# modes are read from what the tools' --help prints, so there is no list here to keep up
# to date. Needs nothing but bash. For links of other names:
#   complete -F _qemu_mini qemu-img qemu-io

# The lines of options of `tool [command] --help`, without the text behind them.
_qemu_mini_options() {
    "$@" --help 2>/dev/null | sed -nE 's/^ {2,6}(-[^ ].*)$/\1/p' | sed -E 's/  +.*//'
}

# What --help says behind "$2:", up to the end of the line.
_qemu_mini_list() {
    "$1" --help 2>/dev/null | sed -nE "s/^.*$2: *//p" | head -n 1
}

_qemu_mini_commands() {
    "$1" --help 2>/dev/null | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p'
}

# The name of the argument of option $1 among the lines on stdin; nothing when it has none.
_qemu_mini_argument() {
    local line item
    while IFS= read -r line; do
        for item in ${line//,/}; do
            case $item in
            "$1") [[ $line =~ [\ =]([A-Z][^\ ]*|[a-z]+\|[^\ ]*)$ ]] && echo "${BASH_REMATCH[1]}"
                return ;;
            "$1"=*) echo "${item#*=}"; return ;;
            esac
        done
    done
}

_qemu_mini_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_qemu_mini_files() { mapfile -t COMPREPLY < <(compgen -f -- "$cur"); compopt -o filenames 2>/dev/null; }

# Completes the value of an option by what the help calls it.
_qemu_mini_value() {
    case $1 in
    FMT) _qemu_mini_words "$(_qemu_mini_list "$tool" 'ormats')" ;;
    CACHE) _qemu_mini_words 'none off directsync writeback writethrough unsafe' ;;
    AIO) _qemu_mini_words 'io_uring native threads' ;;
    COMMAND) _qemu_mini_words "$("$tool" -c help 2>/dev/null | sed -n 's/^\([a-z_]*\) .*-- .*/\1/p')" ;;
    *\|*) _qemu_mini_words "${1//|/ }" ;;
    *) _qemu_mini_files ;;
    esac
}

_qemu_mini() {
    local tool=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' options argument i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} = -* ]] || { command=${COMP_WORDS[i]}; break; }
    done
    if [[ ${tool##*/} = *img* && -z $command ]]; then
        _qemu_mini_words "$(_qemu_mini_commands "$tool") --help --version"
        return
    fi
    [[ ${tool##*/} = *img* ]] || command=
    options=$(_qemu_mini_options "$tool" ${command:+"$command"})
    # bash takes "--output=json" apart at the equals sign.
    if [[ $cur = '=' ]]; then
        cur=
    elif [[ $prev = '=' ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    argument=$(_qemu_mini_argument "$prev" <<<"$options")
    if [[ -n $argument ]]; then
        _qemu_mini_value "$argument"
    elif [[ $cur = -* ]]; then
        _qemu_mini_words "$(tr -s ' ,' '\n' <<<"$options" | sed -n 's/^\(-[^=]*\).*/\1/p')"
    else
        _qemu_mini_files
    fi
}

complete -F _qemu_mini qemu-img-mini qemu-io-mini
