#!/bin/bash
# SPDX-License-Identifier: MIT
# Unknown formats and drivers.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
refused "Could not open 'a': Unknown driver 'foo'" info -f foo a
refused "Could not open 'driver=foo': Unknown driver 'foo'" info --image-opts driver=foo
refused '--image-opts and --format are mutually exclusive' info --image-opts -f raw a
