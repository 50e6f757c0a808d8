#!/bin/sh
# SPDX-License-Identifier: MIT
# Every public header compiles as the first and only one, for C with warnings as errors
# and for C++.
# usage: headers-alone.sh SOURCE-ROOT CC...
set -eu

cd "$1/include"
shift
flags=$(pkg-config --cflags glib-2.0)
warnings='-Wall -Wextra -Werror -Wundef -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wredundant-decls -Wwrite-strings -Wno-unused-parameter'
# In C++ these are about C: what the macros of other headers are made of.
warnings_cxx='-Wall -Werror -Wno-unused-parameter'

try()
{
    if command -v "$1" >/dev/null; then
        echo "#include \"$header\"" | "$@" -I. $flags -fsyntax-only - || {
            echo "$header does not compile alone with $1"
            failed=1
        }
    fi
}

failed=0
count=0
for header in */*.h; do
    try "$@" -x c -std=gnu11 -D_GNU_SOURCE $warnings
    try g++ -x c++ -std=gnu++17 $warnings_cxx
    count=$((count + 1))
done
echo "$count headers"
exit $failed
