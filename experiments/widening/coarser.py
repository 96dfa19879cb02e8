"""Fits the quantizer steps of the channels that widening added, for each knot of the quality scale.

    python -m experiments.widening.coarser FOLDER --model FILE --out FOLDER

At every knot, the new channels are quantized with steps that are wider by some octaves. The mean of
log J of the middle of the folder's images is listed (estimate, variance masks, the loss that the
weights were trained for). The weights with the best steps are written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.widening import command
from rdonet_jax.cli import program
from rdonet_jax.cli.options.argument_types import positive_integer
from rdonet_jax.core import partition
from rdonet_jax.core.config import QUALITY_SEGMENT, ConfigError
from rdonet_jax.imaging import dataset
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.models import registry, zoo
from rdonet_jax.runtime import compilation

TRIED = (0.0, 0.4, 0.8, 1.2, 1.6)
SIDE = 256
BATCH = 4


def middles(folder: Path, count: int) -> np.ndarray:
    """The middle of every so many images of a folder, uint8 [count or less, SIDE, SIDE, 3].

    Raises `DatasetError` where none of them is large enough, and `ImageError`.
    """
    paths = dataset.find([folder])
    found = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        image = dataset.load(path)
        top, left = ((length - SIDE) // 2 for length in image.shape[:2])
        if min(top, left) >= 0:
            found.append(image[top : top + SIDE, left : left + SIDE])
    if not found:
        raise dataset.DatasetError(f"{folder}: no image has {SIDE} pixels on both sides")
    return np.stack(found)


def coarser(params: Any, first: int, octaves: Sequence[float]) -> Any:
    """The parameters with wider steps of y from that channel of 16×16 on, by octaves at a knot."""
    unit = params["units_0"]
    gain = np.array(unit["prior"]["gain"])
    gain[:, first:] -= np.asarray(octaves)[:, None]
    return {**params, "units_0": {**unit, "prior": {**unit["prior"], "gain": gain}}}


def mean_log_cost(model: zoo.Model, images: np.ndarray) -> Any:
    """Of parameters and a quality: the mean of log J of the images, estimated."""
    config, training = model.config, model.record.training

    @compilation.jit
    def costs(params: Any, pixels: jax.Array, quality: jax.Array) -> jax.Array:
        x = distortion.from_integers(pixels)
        masks = partition.level_masks(registry.variance_partition(config, x, quality))
        coded = registry.code(config, params, x, masks, quality)
        bpp = distortion.bpp((coded.y_bits, coded.z_bits), SIDE**2)
        lmbda = loss.lmbda_of(config, quality)
        metric, share = training.metric, training.ms_ssim_share
        cost = loss.rd_loss(bpp, x, coded.x_hat, lmbda, metric, share)
        return jnp.log(cost)

    def mean(params: Any, quality: int) -> float:
        parts = (images[i : i + BATCH] for i in range(0, len(images), BATCH))
        logs = [costs(params, x, jnp.full(len(x), quality, jnp.int32)) for x in parts]
        return float(np.mean(np.concatenate(logs)))

    return mean


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="validation images")
    parser.add_argument("--model", required=True, help="widened weights")
    parser.add_argument("--images", type=positive_integer, default=12)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--name", help="of the weights (default: that of the model)")
    parser.add_argument("--pack", action="store_true", help="large kernels in 7 to 8 bits")
    parser.add_argument(
        "--thresholds", nargs="+", type=float, metavar="T",
        help="of the variance mask in the weights, T64 T32 for every knot (default: the model's)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    return program.exit_code(lambda: write_coarser(options), command.EXPECTED, "coarser")


def write_coarser(options: argparse.Namespace) -> int:
    """Lists what was tried and writes the weights. Raises `command.EXPECTED`, and OSError."""
    model = command.portable(options.model)
    if not model.config.embedded[0] or model.record.training is None:
        raise ConfigError(f"{options.model}: is no network that was widened and then trained")
    judge = mean_log_cost(model, middles(options.folder, options.images))
    first = model.config.embedded[0]  # the old channels alone are context of others
    chosen = [0.0] * model.config.knots
    print("knot   " + "".join(f"{octaves:>9g}" for octaves in TRIED))
    for knot in range(model.config.knots):
        found = {}
        for octaves in TRIED:
            tried = [octaves if k == knot else 0.0 for k in range(model.config.knots)]
            params = coarser(model.params, first, tried)
            found[octaves] = judge(params, QUALITY_SEGMENT * knot)
        chosen[knot] = min(found, key=found.get)
        print(f"{knot:<7}" + "".join(f"{value:>9.4f}" for value in found.values()), flush=True)
    params = coarser(model.params, first, chosen)
    record = {**model.record.stored, "coarser_added_steps": chosen}
    name, config = options.name or model.name, model.config
    if options.thresholds:
        config = registry.with_thresholds(config, options.thresholds)
    print(zoo.save(options.out, name, config, params, record, pack=options.pack))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
