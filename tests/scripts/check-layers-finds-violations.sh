#!/bin/bash
# SPDX-License-Identifier: MIT
#
# scripts/check-layers must find each kind of violation in a made-up tree, at its line,
# and must pass the same tree without them.
set -euo pipefail
top=$(realpath "$(dirname "$0")/../..")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cd "$tree"
mkdir -p include/{qemu,qapi,block} util block/drivers qemu-img-mini scripts build-x

# put FILE LINE...: a file that begins with the licence line.
put() {
    { echo '/* SPDX-License-Identifier: MIT */'; printf '%s\n' "${@:2}"; } >"$1"
}
put include/qapi/error.h '#include <glib.h>'
put include/qemu/aio.h '#include "qapi/error.h"'
put include/block/common.h '#include "qemu/aio.h"' 'int x;'
put include/block/aio.h '#ifndef A_H' '#define A_H' '/* Another name. */' '#include "qemu/aio.h"' '#endif'
put util/util-int.h '#include "qemu/aio.h"'
put util/aio.c '#include "block/aio.h"' '#include "util-int.h"' '#include <sys/types.h>'
put block/node.h '#include "block/common.h"'
put block/drivers/null.c '#include "../node.h"' '#include "block/node.h"' '#include "qemu/aio.h"'
put qemu-img-mini/img.h '#include "block/common.h"'
put qemu-img-mini/main.c '#include "img.h"'
printf '#!/bin/sh\n# SPDX-License-Identifier: MIT\n' >scripts/x
# Not looked at: a build directory.
echo 'int generated;' >build-x/gen.c

if ! "$top/scripts/check-layers" .; then
    echo "a clean tree was refused"
    exit 1
fi

failed=0
# violates FILE LINE EXPECTED: FILE with LINE added must be reported as EXPECTED, alone.
violates() {
    cp "$1" saved
    echo "$2" >>"$1"
    if output=$("$top/scripts/check-layers" .); then
        echo "not found: '$2' in $1"
        failed=1
    elif [ "$output" != "$1:$(wc -l <"$1"): $3" ]; then
        echo "'$2' in $1 gave: $output"
        failed=1
    fi
    mv saved "$1"
}
violates util/aio.c '#include "block/common.h"' 'util/ must not include include/block/common.h'
violates util/aio.c '# include <block/common.h>' 'util/ must not include include/block/common.h'
violates util/aio.c '#include "../block/node.h"' 'util/ must not include block/node.h'
violates util/aio.c '#include "../qemu-img-mini/img.h"' 'util/ must not include qemu-img-mini/img.h'
violates include/qemu/aio.h '#include "block/common.h"' 'include/qemu/ must not include include/block/common.h'
violates include/qapi/error.h '#include "block/common.h"' 'include/qapi/ must not include include/block/common.h'
violates include/block/common.h '#include "../../block/node.h"' 'include/block/ must not include block/node.h'
violates block/drivers/null.c '#include "../../util/util-int.h"' 'block/ must not include util/util-int.h'
violates block/node.h '#include "util/util-int.h"' 'block/ must not include util/util-int.h'
violates block/node.h '#include "../qemu-img-mini/img.h"' 'block/ must not include qemu-img-mini/img.h'
violates qemu-img-mini/main.c '#include "../block/node.h"' 'qemu-img-mini/ must not include block/node.h'
violates qemu-img-mini/main.c '#include "util/util-int.h"' 'qemu-img-mini/ must not include util/util-int.h'
violates qemu-img-mini/main.c '#include "no/such.h"' '"no/such.h" is not in the tree'

# A header that forwards and does more is no mere second name.
echo 'int more;' >>include/block/aio.h
if "$top/scripts/check-layers" . >out || ! grep -q '^util/aio.c:2: util/ must not include include/block/aio.h' out; then
    echo "a forwarding header that does more was let through"
    cat out
    failed=1
fi
sed -i '$d' include/block/aio.h

for file in util/aio.c scripts/x; do
    cp $file saved
    sed -i '/SPDX/d' $file
    if "$top/scripts/check-layers" . >out || ! grep -q "^$file:1: no \"SPDX" out; then
        echo "no licence line in $file: not found"
        failed=1
    fi
    mv saved $file
done
exit $failed
