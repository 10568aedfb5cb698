#!/usr/bin/env bash
# fst-train on several machines, started by torchrun on each of them:
#
#   HEAD=node0.local NODES=2 GPUS=4 OUT=/shared/runs/one bash scripts/train_torchrun.sh \
#       --styles styles/*.jpg --content /data/photos
#
# HEAD is a machine that all can reach; OUT lies on a file system that all share. Run again with the
# same OUT, it goes on where it stopped. On machines without a GPU give ACCELERATOR=cpu.
set -euo pipefail
: "${HEAD:=localhost}" "${PORT:=29500}" "${NODES:=1}" "${GPUS:=1}" "${ACCELERATOR:=gpu}" "${OUT:?}"

begin=(-o "$OUT" "$@")
if [ -e "$OUT/last.ckpt" ]; then begin=(--resume "$OUT/last.ckpt"); fi

exec torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD:$PORT" --rdzv-id "$(basename "$OUT")" \
    -m fst.cli.train "${begin[@]}" \
    --trainer.accelerator "$ACCELERATOR" --trainer.strategy ddp \
    --trainer.devices "$GPUS" --trainer.num_nodes "$NODES"
