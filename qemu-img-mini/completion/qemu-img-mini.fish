# SPDX-License-Identifier: MIT
#
# fish completion for qemu-img-mini and qemu-io-mini. All that is offered is read from what the tools'
# --help prints, as for bash.

# The lines of options of `tool [command] --help`.
function __qemu_mini_options
    $argv --help 2>/dev/null | string match -r '^ {2,6}-[^ ].*'
end

# The values of the argument that the help calls $argv[2]; fails when it is a file or anything.
function __qemu_mini_values
    switch $argv[2]
        case FMT
            string split ' ' -- ($argv[1] --help 2>/dev/null | string replace -rf '^.*ormats: *' '')
        case CACHE
            printf '%s\n' none off directsync writeback writethrough unsafe
        case AIO
            printf '%s\n' io_uring native threads
        case COMMAND
            $argv[1] -c help 2>/dev/null | string replace -rf '^([a-z_]+) .*-- (.*)' '$1\t$2'
        case '*|*'
            string split '|' -- $argv[2]
        case '*'
            return 1
    end
end

function __qemu_mini_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l tool $words[1]
    set -l command
    if string match -q '*img*' -- (string replace -r '.*/' '' -- $tool)
        set command (string match -v -- '-*' $words[2..-1])[1]
        if test -z "$command"
            $tool --help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)' '$1\t$2'
            printf '%s\n' --help --version
            return
        end
    end
    set -l previous (string replace -rf '^(--[^=]+)=.*' '$1' -- $current; or echo $words[-1])
    set -l prefix (string match -r '^--[^=]+=' -- $current)
    set -l offered
    for line in (__qemu_mini_options $tool $command)
        set -l parts (string match -r '^ +(.*?)(?:  +(.*))?$' -- $line)
        for name in (string split ', ' -- $parts[2])
            set -l pair (string match -r '^(-[^ =]+)[ =]?(.*)$' -- $name)
            set -a offered "$pair[2]"\t"$parts[3]"
            if test "$pair[2]" = "$previous"
                # "-f, --format=FMT": the argument stands behind the long name.
                set -l argument (string replace -rf '.*[ =]([^ =]+)$' '$1' -- $parts[2])
                if set -q argument[1]
                    set -l values (__qemu_mini_values $tool $argument)
                    and printf '%s\n' "$prefix"$values
                    or __fish_complete_path $current
                    return
                end
            end
        end
    end
    if string match -q -- '-*' $current
        printf '%s\n' $offered
    else
        __fish_complete_path $current
    end
end

complete -c qemu-img-mini -f -a '(__qemu_mini_complete)'
complete -c qemu-io-mini -f -a '(__qemu_mini_complete)'
