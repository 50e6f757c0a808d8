#!/bin/bash
# SPDX-License-Identifier: MIT
# --object takes secrets; what is wrong with one is told.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
ok info --object secret,id=sec0,data=abc a
refused "Parameter 'qom-type' does not accept value 'foo'" info --object foo,id=a a
refused "Parameter 'qom-type' does not accept value 'foo'" create -o size=1M --object foo,id=a b
refused "Parameter 'id' is missing" info --object secret,data=x a
