#!/bin/bash
# SPDX-License-Identifier: MIT
# A raw image that qemu-img made of a qcow2 one goes through unchanged.
. "$(dirname "$0")/../img/lib.sh"

requires qemu-img
make_image a
qemu-img convert -f raw -O qcow2 a a.qcow2
qemu-img convert -f qcow2 -O raw a.qcow2 b
ok convert -f raw b c
qemu-img compare -f qcow2 -F raw a.qcow2 c >out || fail 'different'
