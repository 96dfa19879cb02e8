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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.widening import fitting
from rdonet_jax.core import compilation
from rdonet_jax.core.config import ConfigError, PortableConfig
from rdonet_jax.imaging import dataset, srgb
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import quality_range, widening

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


def crops_of(folder: Path, per_image: int, seed: int) -> Iterable[np.ndarray]:
    """Batches of crops of the images of a folder."""
    images = (srgb.load(path) for path in dataset.find([folder]))
    return fitting.square_crops(images, per_image, SIDE, seed)


def ceiling(params: Any, config: PortableConfig, batches: Iterable[np.ndarray]) -> float:
    """The mean PSNR in dB of crops at 16×16 without quantization."""
    coded = compilation.jit(lambda x: fitting.code_without_rounding(params, config, x)[1])
    decibels: list[float] = []
    for x in batches:
        errors = np.square(np.clip(coded(jnp.asarray(x)), 0, 1) - x).mean(axis=(1, 2, 3))
        decibels.extend(-10 * np.log10(errors))
    return float(np.mean(decibels))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="images for the fit")
    parser.add_argument("--model", required=True, help="a portable network")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--validation", type=Path, help="images to measure on; default: FOLDER")
    parser.add_argument("--trunk", type=int, default=48, help="new channels at 1/8")
    parser.add_argument("--latents", type=int, default=192, help="new latents at 16×16")
    parser.add_argument("--knots", type=int, help="of the quality; default: those of the model")
    parser.add_argument("--crops", type=int, default=2, help="of each image")
    options = parser.parse_args()
    try:
        model = zoo.load(options.model)
        if not isinstance(model.config, PortableConfig):
            raise ConfigError("only portable networks can be widened")
        old = continued(model.config, options.knots or model.config.knots)
        new = widening.widened(old, options.trunk, options.latents)
    except (ConfigError, zoo.ZooError) as error:
        parser.error(f"{options.model}: {error}")
    params = quality_range.resample_knots(model.params, model.config, old)
    crops = list(crops_of(options.folder, options.crops, 0))
    if not crops:
        parser.error(f"{options.folder}: no image has {SIDE} pixels on both sides")
    transform = fitting.fit(params, old, crops, options.trunk, options.latents)
    wide = widening.widen(params, old, new, transform, jax.random.key(0))
    for config, weights in ((old, params), (new, wide)):
        held_out = crops_of(options.validation or options.folder, 1, 1)
        print(
            f"{config.latents[0]} latents: {ceiling(weights, config, held_out):.2f} dB", flush=True
        )
    print(zoo.save(options.out, model.name, new, wide, dict(model.record.stored)))


if __name__ == "__main__":
    main()
