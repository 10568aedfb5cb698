#!/usr/bin/env bash
#SBATCH --job-name=fst
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
# fst-train on SLURM, one task a GPU:
#
#   OUT=/shared/runs/one sbatch scripts/train_slurm.sh --styles styles/*.jpg --content /data/photos
#
# A minute before its time is over the run is told to end by SIGTERM; it stores the step it has
# taken. Put in the queue again with the same OUT, it goes on. A task that fails ends the others.
set -euo pipefail
: "${OUT:?}"

begin=(-o "$OUT" "$@")
if [ -e "$OUT/last.ckpt" ]; then begin=(--resume "$OUT/last.ckpt"); fi

export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun takes it from nowhere else
exec srun --kill-on-bad-exit=1 python -m fst.cli.train "${begin[@]}" \
    --trainer.accelerator gpu --trainer.strategy ddp \
    --trainer.devices "$SLURM_NTASKS_PER_NODE" --trainer.num_nodes "$SLURM_NNODES"
