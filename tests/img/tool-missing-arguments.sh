#!/bin/bash
# SPDX-License-Identifier: MIT
# Without arguments each command says what it needs, exit code 1.
. "$(dirname "$0")/lib.sh"

usage() {
    refused "$1
Try '$name --help' for more information" "${@:2}"
}
usage 'Not enough arguments'
usage 'Expecting image file name' create
usage 'Expecting one image file name' info
usage 'Expecting one image file name' info a b
usage 'Expecting two image file names' compare a
usage 'Expecting one image file name' bench
usage "missing argument for option '-f'" create -f
usage "missing argument for option '--output'" info --output
refused 'Must specify image file name' convert
refused 'Must specify image file name' convert a
