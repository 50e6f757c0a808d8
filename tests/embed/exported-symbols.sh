#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The shared library exports the functions and variables that the installed headers
# declare: each of them, and nothing else. And it has a soname.
. "$(dirname "$0")/common.sh"
cd "$tmp"
export LC_ALL=C

# Without the counters of a build for scripts/coverage.
nm -D --defined-only "$libdir/libblkco.so" |
    awk '$3 !~ /^lprof|__llvm_prof|___llvm_prf/ { print $3 }' | sort -u >exported

# What is declared for tests only is in an archive of its own.
headers() {
    (cd "$includedir" && find . -name '*.h' -not -name blkco-test.h -printf '%P\n' | sort)
}
# gcc lists the prototypes that it has seen, with the file of each:
#   /* FILE:LINE:NC */ extern int name (int);
headers | sed 's/.*/#include <&>/' >all.c
# shellcheck disable=SC2046
gcc -fsyntax-only -aux-info protos $(pkg-config --cflags blkco) all.c
grep -F "/* $includedir/" protos | grep '\*/ extern ' |
    sed -E 's|^/\* [^ ]* \*/ extern ([^(]*[ *])?(\w+) \(.*|\2|' | sort -u >functions
# Variables do not appear in that list.
# shellcheck disable=SC2046
gcc -E $(pkg-config --cflags blkco) all.c |
    awk -v dir="$includedir/" '/^# / { ours = index($3, dir) } ours' |
    sed -nE 's/^extern [^()]*\W(\w+)(\[[^]]*\])?( __attribute__.*)?;$/\1/p' | sort -u >variables
sort -u functions variables >declared

failed=0
if comm -23 exported declared | grep .; then
    echo "^ exported, but no installed header declares it"
    failed=1
fi
if comm -13 exported declared | grep .; then
    echo "^ declared in an installed header, but not exported"
    failed=1
fi
soname=$(readelf -d "$libdir/libblkco.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[[ $soname =~ ^libblkco\.so\.[0-9]+$ ]] || { echo "soname is '$soname'"; failed=1; }
[ -e "$libdir/$soname" ] || { echo "no $soname was installed"; failed=1; }
echo "$(wc -l <exported) symbols, soname $soname"
exit $failed
