#!/usr/bin/env bash
# Train on several GPUs, or on several processes of a machine without one (gloo).
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# More than one machine: start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launcher/torchrun.sh"

if [ "$#" -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
launch "$2" train.py "$1" --launcher pytorch "${@:3}"
