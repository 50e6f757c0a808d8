#!/bin/bash
# SPDX-License-Identifier: MIT
# --no-external: what only an image names is not opened, whoever asks; what the options name is.
. "$(dirname "$0")/lib.sh"

secret=$PWD/secret
echo 'do not read this' >"$secret"
truncate -s 1M "$secret"
ok create -q -f qcow2 -b "$secret" -F raw ov
ok create -q -f qcow2 -b ov -F qcow2 top
ok create -q -f qcow2 alone 1M
ok create -q -f qcow2 -o data_file=data.raw data 1M

ok info --no-external ov
ok info --no-external data
ok convert --no-external -O raw alone out.raw
for command in 'map --no-external ov' 'map --no-external top' 'map --no-external data' \
    'convert --no-external -O raw ov x' 'compare --no-external ov alone' \
    'info --no-external --backing-chain ov' 'bench --no-external -c 1 ov' \
    'create --no-external -f qcow2 -b ov -F qcow2 x' 'dd --no-external if=ov of=x' \
    'amend --no-external -o lazy_refcounts=on ov' 'bitmap --no-external --add data b0' \
    'check --no-external data' 'commit --no-external ov' 'measure --no-external -O qcow2 ov' \
    'rebase --no-external -b alone -F qcow2 ov' 'resize --no-external ov 2M' \
    'snapshot --no-external -l data'; do
    # shellcheck disable=SC2086
    set -- $command
    sha256sum ov top data >before
    run "$img" "$@"
    expect_status $([ "$1" = compare ] && echo 2 || echo 1) "$command"
    expect_err_has "may not be opened: only the image itself names it"
    sha256sum -c --quiet before || fail "$command changed an image"
done
[ ! -e x ] || fail 'a target was left'
# What stands in the options is the user's own.
ok map --no-external --image-opts driver=qcow2,file.filename=ov,backing.driver=raw,backing.file.filename=secret
ok map --no-external --image-opts driver=qcow2,file.filename=data,data-file.filename=data.raw
ok map --no-external "json:{'driver':'qcow2','file':{'filename':'ov'},'backing':null}"
