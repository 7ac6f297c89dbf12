#!/usr/bin/env bash
# Train in a job of SLURM.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [PORT=29500] [SRUN_ARGS=...] \
#       tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of tools/train.py]
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of tools/train.py]" >&2
    exit 2
fi
partition="$1"
job_name="$2"
config="$3"
shift 3
work_dir=()
if [ "$#" -gt 0 ] && [ "${1#-}" = "$1" ]; then
    work_dir=(--work-dir "$1")
    shift
fi

gpus="${GPUS:-8}"
gpus_per_node="${GPUS_PER_NODE:-8}"
if [ "$gpus" -lt "$gpus_per_node" ]; then
    gpus_per_node="$gpus"
fi
extra=()
if [ -n "${SRUN_ARGS:-}" ]; then
    read -r -a extra <<<"$SRUN_ARGS"
fi
export MASTER_PORT="${PORT:-${MASTER_PORT:-29500}}" # a second job on a node needs another
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

exec srun -p "$partition" \
    --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${extra[@]+"${extra[@]}"} \
    "${PYTHON:-python}" -u "$here/train.py" "$config" ${work_dir[@]+"${work_dir[@]}"} --launcher slurm "$@"
