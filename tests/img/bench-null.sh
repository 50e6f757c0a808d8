#!/bin/bash
# SPDX-License-Identifier: MIT
# The null driver takes any number of requests.
. "$(dirname "$0")/lib.sh"

ok bench -c 10000 -d 64 --image-opts driver=null-co,size=1G
ok bench -c 10000 -d 64 --image-opts driver=null-aio,size=1G
ok bench -c 1000 -d 300 -w --image-opts driver=null-co,size=1G
