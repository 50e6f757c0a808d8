# SPDX-License-Identifier: MIT
#
# Sourced by the tests here, which see blkco as a stranger does: they install the build
# directory $BUILD_DIR (set by meson) below $tmp and take everything from there.
set -euo pipefail
top=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
: "${BUILD_DIR:?run me through meson test}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

DESTDIR=$tmp/dest ninja -C "$BUILD_DIR" install >"$tmp/install.log" || {
    cat "$tmp/install.log"
    exit 1
}
for name in blkco blkco-test; do
    pc=$(find "$tmp/dest" -name $name.pc)
    [ -n "$pc" ] || { echo "no $name.pc was installed"; exit 1; }
    # The library moves to where it really is; nothing else in the file may name a path.
    prefix=$(sed -n 's/^prefix=//p' "$pc")
    if grep -v '^prefix=' "$pc" | grep -e "$top" -e "$BUILD_DIR"; then
        echo "$name.pc names the build directory"
        exit 1
    fi
    sed -i "s|^prefix=.*|prefix=$tmp/dest$prefix|" "$pc"
done
export PKG_CONFIG_PATH=${pc%/*}
libdir=$(pkg-config --variable=libdir blkco)
includedir=$(pkg-config --variable=includedir blkco)/blkco

# Compilers that are there, of those that are supported.
compilers() {
    for cc in "$@"; do
        if command -v "$cc" >/dev/null; then
            echo "$cc"
        fi
    done
}
# Public headers as a program would name them.
headers() {
    (cd "$includedir" && find . -name '*.h' -printf '%P\n' | sort)
}
