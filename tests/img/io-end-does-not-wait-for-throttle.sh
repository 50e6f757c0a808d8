#!/bin/bash
# SPDX-License-Identifier: MIT
# At the end what is throttled is done at once, as in QEMU, however low the rate.
. "$(dirname "$0")/lib.sh"

ok create -q -f raw x 1M
node='json:{"driver":"throttle","throttle-group":"t","file":{"driver":"file","filename":"x"}}'
end() {
    run timeout 60 "$io" --object throttle-group,id=t,x-bps-total=1 "$@" "$node"
    expect_status 0 "$*"
}
end -c 'aio_write -P 1 0 4k' -c 'aio_write -P 2 4k 4k' -c quit
end -c 'aio_write -P 3 8k 4k' -c 'aio_write -P 4 12k 4k'
end -c 'aio_write -P 5 16k 4k' -c 'aio_write -P 6 20k 4k' -c close
run "$io" -r -f raw -c 'read -P 2 4k 4k' -c 'read -P 4 12k 4k' -c 'read -P 6 20k 4k' x
expect_status 0
