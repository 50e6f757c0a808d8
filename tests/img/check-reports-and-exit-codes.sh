#!/bin/bash
# SPDX-License-Identifier: MIT
# check: what it prints of a sound, a leaking and a damaged image, and its exit codes.
. "$(dirname "$0")/lib.sh"

poke() { printf "$2" | dd of="$3" bs=1 seek=$(($1)) conv=notrunc status=none; }

ok create -q -f qcow2 a 1M
ok check a
expect_out 'No errors were found on the image.
Image end offset: 262144'
expect_err ''
ok check -q a
expect_out ''

# The refcount of the L1 table becomes 2: a leak.
cp a leak
poke 0x20006 '\0\2' leak
run "$img" check leak
expect_status 3
expect_out '
1 leaked clusters were found on the image.
This means waste of disk space, but no harm to data.
Image end offset: 262144'
expect_err 'Leaked cluster 3 refcount=2 reference=1'
run "$img" check --output=json leak
expect_status 3
expect_out '{
    "image-end-offset": 262144,
    "total-clusters": 16,
    "check-errors": 0,
    "leaks": 1,
    "filename": "leak",
    "format": "qcow2"
}'
run "$img" check -q leak
expect_status 3
expect_out ''
run "$img" check -r leaks leak
expect_status 0
expect_err 'Leaked cluster 3 refcount=2 reference=1
Repairing cluster 3 refcount=2 reference=1'
expect_out 'The following inconsistencies were found and repaired:

    1 leaked clusters
    0 corruptions

Double checking the fixed image now...
No errors were found on the image.
Image end offset: 262144'
cmp a leak || fail 'it is not what it was'

# It becomes 0: damage, which -r leaks leaves alone.
cp a lost
poke 0x20006 '\0\0' lost
run "$img" check lost
expect_status 2
expect_out_has '^1 errors were found on the image.$'
expect_err 'ERROR cluster 3 refcount=0 reference=1'
run "$img" check -r leaks lost
expect_status 1
expect_err "ERROR cluster 3 refcount=0 reference=1
ERROR need to rebuild refcount structures
$name: Check failed: Input/output error"
run "$img" check -r all lost
expect_status 0
expect_out_has '^    1 corruptions$'
expect_err 'ERROR cluster 3 refcount=0 reference=1
Rebuilding refcount structure
Repairing cluster 1 refcount=1 reference=0
Repairing cluster 2 refcount=1 reference=0'
ok check lost

truncate -s 1M raw
run "$img" check -f raw raw
expect_status 63
expect_err "$name: This image format does not support checks"
run "$img" check missing
expect_status 1
run "$img" check -r some a
expect_status 1
expect_err_has "^$name: Unknown option value for -r (expecting 'leaks' or 'all'): some$"
refused 'Invalid source cache option: warm' check -T warm a
refused '--output must be used with human or json as argument.' check --output=xml a
