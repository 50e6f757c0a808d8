#!/bin/bash
# SPDX-License-Identifier: MIT
# An unknown option is named, exit code 1.
. "$(dirname "$0")/lib.sh"

for command in create info convert compare bench; do
    refused "unrecognized option '--nonsense'
Try '$name --help' for more information" "$command" --nonsense a b
    refused "unrecognized option '-Z'
Try '$name --help' for more information" "$command" -Z a b
done
refused "unrecognized option '--nonsense'
Try '$name --help' for more information" --nonsense
