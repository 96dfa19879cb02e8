"""Widens a trained portable network, so that it loses less of an image at high qualities.

    python -m experiments.widening FOLDER --model standard --out FOLDER

What new channels of the trunk and new latents at 16×16 code is fitted to random crops of the images
of FOLDER. With `--knots`, the range of qualities is continued with knots at the same distance.
Printed is the PSNR without quantization of the network before and after, over crops of
`--validation`. The weights are written with the configuration of the wider network, and training
goes on from them: `rdonet train --start FILE`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.widening import command, fitting
from rdonet_jax.cli import program
from rdonet_jax.cli.options.argument_types import positive_integer
from rdonet_jax.core.config import ConfigError, PortableConfig
from rdonet_jax.imaging import dataset
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import quality_range, widening
from rdonet_jax.runtime import compilation

SIDE = 256


def continued(config: PortableConfig, knots: int) -> PortableConfig:
    """The configuration with more knots above its own, at their distance.

    Raises `ConfigError` for fewer knots than it has.
    """
    more = knots - config.knots
    if more < 0:
        raise ConfigError(f"the network has {config.knots} knots already")
    ratios = np.asarray(config.thresholds[-1]) / config.thresholds[-2]
    added = [tuple(config.thresholds[-1] * ratios**k) for k in range(1, more + 1)]
    low, high = config.lmbdas
    largest = float(low * (high / low) ** ((knots - 1) / (config.knots - 1)))
    return dataclasses.replace(
        config, knots=knots, lmbdas=(low, largest), thresholds=(*config.thresholds, *added)
    )


def crops_of(folder: Path, per_image: int, seed: int) -> list[np.ndarray]:
    """Batches of crops of the images of a folder.

    Raises `DatasetError` where no image is large enough, and `ImageError`.
    """
    images = (dataset.load(path) for path in dataset.find([folder]))
    found = list(fitting.square_crops(images, per_image, SIDE, seed))
    if not found:
        raise dataset.DatasetError(f"{folder}: no image has {SIDE} pixels on both sides")
    return found


def ceiling(params: Any, config: PortableConfig, batches: Iterable[np.ndarray]) -> float:
    """The mean PSNR in dB of crops at 16×16 without quantization."""
    coded = compilation.jit(lambda x: fitting.code_without_rounding(params, config, x)[1])
    decibels: list[float] = []
    for x in batches:
        errors = np.square(np.clip(coded(jnp.asarray(x)), 0, 1) - x).mean(axis=(1, 2, 3))
        decibels.extend(-10 * np.log10(errors))
    return float(np.mean(decibels))


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="images for the fit")
    parser.add_argument("--model", required=True, help="a portable network")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--validation", type=Path, help="images to measure on; default: FOLDER")
    parser.add_argument("--trunk", type=positive_integer, default=48, help="new channels at 1/8")
    parser.add_argument(
        "--latents", type=positive_integer, default=192, help="new latents at 16×16"
    )
    parser.add_argument(
        "--knots", type=positive_integer, help="of the quality; default: those of the model"
    )
    parser.add_argument("--crops", type=positive_integer, default=2, help="of each image")
    options = parser.parse_args(arguments)
    return program.exit_code(lambda: widen(options), command.EXPECTED, "widening")


def widen(options: argparse.Namespace) -> int:
    """Fits, measures and writes. Raises what is `command.EXPECTED`, and OSError."""
    model = command.portable(options.model)
    with command.naming(options.model):
        old = continued(model.config, options.knots or model.config.knots)
        new = widening.widened(old, options.trunk, options.latents)
    params = quality_range.resample_knots(model.params, model.config, old)
    held_out = crops_of(options.validation or options.folder, 1, 1)
    crops = crops_of(options.folder, options.crops, 0)
    transform = fitting.fit(params, old, crops, options.trunk, options.latents)
    wide = widening.widen(params, old, new, transform, jax.random.key(0))
    for config, weights in ((old, params), (new, wide)):
        print(
            f"{config.latents[0]} latents: {ceiling(weights, config, held_out):.2f} dB", flush=True
        )
    print(zoo.save(options.out, model.name, new, wide, dict(model.record.stored)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
