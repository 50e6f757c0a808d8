#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each patch of tests/planted still applies to the tree, and says what it plants and which tier should
# catch it. Whether the bugs are caught is told by scripts/planted-bugs, which takes long.
set -euo pipefail
cd "$(dirname "$0")/../.."
failed=0
copy=$(mktemp -d "${TMPDIR:-/tmp}/blkco-planted.XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -r block "$copy"
export GIT_CEILING_DIRECTORIES=${copy%/*}

complain() {
    echo "FAILED: $*"
    failed=1
}

command -v git >/dev/null || { echo 'skipped: there is no git'; exit 77; }
for patch in tests/planted/*.patch; do
    path=$PWD/$patch
    (cd "$copy" && git apply --check "$path") || complain "$patch does not apply"
    grep -q '^What: .*\.$' "$patch" || complain "$patch does not say what it plants"
    grep -qE '^Tier: (unit|faults|power-cut|crash|process|stress|fuzz|tools)$' "$patch" ||
        complain "$patch does not say which tier should catch it"
done
[ "$(ls tests/planted/*.patch | wc -l)" -ge 20 ] || complain 'there are less than 20 planted bugs'
exit $failed
