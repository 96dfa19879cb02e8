#!/usr/bin/env bash
# Trains on several GPU nodes by SLURM, one process per GPU. An example to adapt, which has not run on
# a cluster.
#
#   DATA=/data/train-shards VALID=/data/valid RUN=s3://bucket/runs/standard sbatch examples/slurm_train.sh
#
# Before its time is over the job stops with a checkpoint and queues itself again. The same command
# goes on with a run that was stopped otherwise.
#
#SBATCH --job-name=rdonet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append
set -euo pipefail

: "${DATA:?folder or shards of training images}"
: "${VALID:?folder or shards of validation images}"
: "${RUN:?folder that all nodes share, or a URL}"

preset=${PRESET:-standard}
priors=()
case $preset in
    standard* | wide | mini* | compact*) priors=(--prior-rate 10) ;; # the portable networks
esac

srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    rdonet train --distributed --preset "$preset" "${priors[@]}" --resume auto \
    --data "$DATA" --valid "$VALID" --run "$RUN" --batch-size "${BATCH_SIZE:-256}" \
    --steps "${STEPS:-26000}" &
training=$!

# SIGTERM comes to this script alone, two minutes before the end. scancel sends it to the steps of the
# job, and not to this script. srun must not get it: it would kill its processes at once. The training
# stops with a checkpoint, exit code 0.
stopped=
stop() {
    trap '' TERM # another one must not end the second wait
    stopped=1
    scancel --signal=TERM "$SLURM_JOB_ID"
}
trap stop TERM
code=0
wait "$training" || code=$?
if [[ -n $stopped ]]; then # the trap has ended the first wait
    code=0
    wait "$training" || code=$?
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
