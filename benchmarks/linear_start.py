"""What the orthonormal start of a portable network reaches before any training.

    python benchmarks/linear_start.py FOLDER [--images N] [--preset NAME] [--channels N] [--lmbda L]

The 256x256 pixels in the corner of each image, all coded at the finest level, at qualities from 0
to 100: mean bits per pixel (estimate) and the PSNR of each image. `--channels` changes features and
latents of the finest level, `--lmbda` that of quality 100. The PSNR at quality 100 is a ceiling
that training of the priors cannot raise.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import images_of_folder
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition, presets
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.runtime import compilation

QUALITIES = (0, 20, 40, 60, 80, 100)
SIDE = 256


def changed(config: PortableConfig, channels: int | None, lmbda: float | None) -> PortableConfig:
    """The configuration with other channels of the finest level and another largest lambda."""
    if channels is not None:
        features, latents = ((channels, *v[1:]) for v in (config.features, config.latents))
        starts = tuple(n for n in config.channel_groups[0] if n < channels)
        groups = (starts, *config.channel_groups[1:])
        config = dataclasses.replace(
            config, features=features, latents=latents, channel_groups=groups
        )
    return config if lmbda is None else dataclasses.replace(
        config, lmbdas=(config.lmbdas[0], lmbda)
    )  # fmt: skip


def main() -> None:
    parser = images_of_folder.parser(__doc__, images=2)
    parser.add_argument("--preset", default="wide", help="of a portable network")
    parser.add_argument("--channels", type=int)
    parser.add_argument("--lmbda", type=float)
    options = parser.parse_args()
    config = changed(presets.preset(options.preset), options.channels, options.lmbda)
    family = registry.family_of(config)
    params = family.linear_start(family.init_params(config, jax.random.key(0)), config, 0.0)
    corners = [image[:SIDE, :SIDE] for image in images_of_folder.load_images(options)]
    x = distortion.from_integers(jnp.asarray(np.stack(corners)))
    grid = partition.block_grid(SIDE, SIDE)
    masks = partition.level_masks(partition.uniform(0, grid, (len(x),)))

    @compilation.jit
    def measured(params: Any, x: jax.Array, quality: jax.Array) -> tuple[jax.Array, jax.Array]:
        coded = registry.code(config, params, x, masks, quality)
        bpp = distortion.bpp((coded.y_bits, coded.z_bits), SIDE**2)
        return bpp, distortion.mse(x, jnp.clip(coded.x_hat, 0, 1))

    for quality in QUALITIES:
        number = round(quality / 100 * config.steps_of_quality)
        bpp, mse = measured(params, x, jnp.full(len(x), number, jnp.int32))
        psnr = ", ".join(f"{value:.1f}" for value in -10 * np.log10(np.asarray(mse)))
        print(f"quality {quality:>3}: {float(bpp.mean()):.2f} bpp, {psnr} dB", flush=True)


if __name__ == "__main__":
    main()
