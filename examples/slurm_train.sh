#!/usr/bin/env bash
# Trains on several GPU nodes by SLURM, one process per GPU, and goes on after a requeue.
#
#   DATA=/data/train-shards VALID=/data/valid RUN=s3://bucket/runs/standard sbatch examples/slurm_train.sh
#
#SBATCH --job-name=rdonet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
set -euo pipefail

: "${DATA:?folder or shards of training images}"
: "${VALID:?folder or shards of validation images}"
: "${RUN:?folder that all nodes share, or a URL}"

resume=()
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
    resume=(--resume)
fi

# SIGTERM two minutes before the end leaves a checkpoint; the next start goes on from there.
srun --kill-on-bad-exit=1 rdonet train --distributed --preset "${PRESET:-standard}" \
    --data "$DATA" --valid "$VALID" --run "$RUN" --batch-size "${BATCH_SIZE:-256}" \
    --steps "${STEPS:-26000}" --prior-rate 10 "${resume[@]}"
