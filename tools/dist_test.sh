#!/usr/bin/env bash
# Evaluate on several GPUs, or on several processes of a machine without one (gloo).
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# More than one machine: start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launcher/torchrun.sh"

if [ "$#" -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
launch "$3" test.py "$1" "$2" --launcher pytorch "${@:4}"
