#!/bin/bash
# SPDX-License-Identifier: MIT
#
# scripts/setup against stand-ins for dpkg and apt-get: nothing is installed here.
set -euo pipefail
top=$(realpath "$(dirname "$0")/../..")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/bin" "$tmp/tools"
cd "$tmp"

# Only what the script itself needs, so that the stand-ins cannot be missed.
for tool in bash env cat cc mktemp rm tail; do
    path=$(command -v $tool) && ln -s "$path" tools/$tool
done
stand_in() {
    printf '#!/bin/bash\n%s\n' "$2" >"bin/$1"
    chmod +x "bin/$1"
}
stand_in dpkg 'echo amd64'
# Knows every package; those named in $tmp/missing are not installed.
stand_in dpkg-query 'for p in "${@:3}"; do
    if grep -qx "$p" '"$tmp"'/missing; then rc=1; else printf "installed:%s " "$p"; fi
done; exit ${rc-0}'
stand_in apt-get 'echo "apt-get $*" >>'"$tmp"'/calls'
stand_in grep "exec $(command -v grep) \"\$@\""
stand_in id 'echo ${FAKE_UID-0}'

failed=0
# setup ARGS...: runs it; the output in $out, the exit code in $rc, what apt-get saw in $calls
setup() {
    rm -f calls
    rc=0
    out=$(PATH=$tmp/bin:$tmp/tools "$top/scripts/setup" "$@" 2>&1 </dev/null) || rc=$?
    calls=$(cat calls 2>/dev/null || true)
}
expect() {
    if ! eval "$2"; then
        echo "FAILED: $1 (exit code $rc)"
        echo "$out"
        echo "$calls"
        failed=1
    fi
}

: >missing
setup
expect "nothing missing: silent, no apt-get" '[ $rc = 0 ] && [ -z "$out$calls" ]'

printf 'meson\nlibaio-dev\nqemu-utils\n' >missing
setup build
expect "names what is missing" '[[ $out == *"Installing missing packages"*": meson libaio-dev" ]]'
expect "updates once, then installs just that" \
    '[ $rc = 0 ] && [ "$(grep -c " update" <<<"$calls")" = 1 ] && [[ $calls == *" install meson libaio-dev" ]]'
setup --check bench
expect "--check installs nothing" '[ $rc = 1 ] && [ -z "$calls" ] && [ "$out" = "missing packages: qemu-utils" ]'

export FAKE_UID=1000
setup build
expect "neither root nor sudo: says what root must do" \
    '[ $rc = 1 ] && [ -z "$calls" ] && [[ $out == *"neither root nor sudo"*"apt-get install --no-install-recommends meson libaio-dev"* ]]'
stand_in sudo 'echo "sudo $1" >>'"$tmp"'/calls; [ "$1" = -n ] && shift; exec "$@"'
setup build
expect "sudo is used, and asks no questions without a terminal" \
    '[ $rc = 0 ] && [[ $calls == "sudo -n"*"install meson libaio-dev" ]]'
rm bin/sudo
unset FAKE_UID

stand_in apt-get 'echo "apt-get $*" >>'"$tmp"'/calls; [[ $* != *update ]]'
setup build
expect "an update that fails is no reason to give up" '[ $rc = 0 ] && [[ $out == *"update'"'"' failed"* ]]'
stand_in apt-get 'exit 100'
setup build
expect "an install that fails is an error" '[ $rc = 1 ] && [[ $out == *"could not install: meson libaio-dev"* ]]'

rm bin/dpkg-query bin/dpkg
setup
expect "not Debian: names what is missing" '[ $rc = 1 ] && [[ $out == *"this is not Debian"*meson*"glib-2.0 >= 2.68"* ]]'
setup nonsense
expect "an unknown group is refused" '[ $rc = 2 ]'
exit $failed
