# Sourced by dist_train.sh and dist_test.sh.

# launch PROCESSES SCRIPT [ARGUMENTS]: a script of tools/ in that many processes of this machine.
launch() {
    local here python="${PYTHON:-}"
    here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
    if [ "${NNODES:-1}" != 1 ] && { [ -z "${NODE_RANK:-}" ] || [ -z "${MASTER_ADDR:-}" ]; }; then
        echo "NNODES=$NNODES: start this on each machine with its own number and the address of the first," >&2
        echo "    NNODES=$NNODES NODE_RANK=0 MASTER_ADDR=node0 $0 ..." >&2
        exit 2
    fi
    if [ -z "$python" ]; then
        python=python
        if [ -x "$here/../.venv/bin/python" ] && [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
            python="$here/../.venv/bin/python"
        fi
    fi
    local processes="$1" script="$2"
    shift 2
    exec "$python" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$processes" \
        "$here/$script" "$@"
}
