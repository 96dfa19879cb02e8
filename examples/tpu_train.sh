#!/usr/bin/env bash
# Trains on a TPU pod slice: the same command on every worker of the slice. An example to adapt,
# which has not run on a slice. Started again, it goes on with the run. Arguments go to rdonet train.
#
#   TPU=my-slice ZONE=us-central2-b DATA=gs://bucket/train-tar VALID=gs://bucket/valid \
#       RUN=gs://bucket/runs/standard PACKAGE=https://example.org/rdonet.whl examples/tpu_train.sh
set -euo pipefail

: "${TPU:?name of the TPU VM}"
: "${ZONE:?its zone}"
: "${DATA:?tar shards or folder of training images, at a URL}"
: "${VALID:?validation images}"
: "${RUN:?URL of the run}"
: "${PACKAGE:?URL of the package}"

on_all_workers() {
    gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

# PACKAGE is a wheel or an archive of the checkout that every worker can read.
on_all_workers "pip install --quiet 'jax[tpu]' 'rdonet-jax[train,gcs] @ $PACKAGE'"

preset=${PRESET:-standard}
priors=()
case $preset in
    standard* | wide | mini* | compact*) priors=(--prior-rate 10) ;; # the portable networks
esac

command=(rdonet train --distributed --preset "$preset" "${priors[@]}" --resume auto
    --data "$DATA" --valid "$VALID" --run "$RUN" --batch-size "${BATCH_SIZE:-512}" --steps "${STEPS:-26000}" "$@")
on_all_workers "$(printf '%q ' "${command[@]}")"
