"""Fits the quantizer steps of hyper-latents to photographs, for each knot of the quality scale.

    python benchmarks/hyper_steps.py FOLDER --model FILE [--images N] [--out FOLDER]

Training crops have more detail than whole images, and the loss over all qualities gives little
weight to the lowest ones, where hyper-latents are a large part of the rate. At every knot, z is
quantized with steps that are wider by some octaves. The mean of log bpp (estimate, variance masks)
is listed. With --out, packed weights with the best steps are written, and their record has the
steps. Use images for validation, not those on which results are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import images_of_folder
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core import partition
from rdonet_jax.core.config import QUALITY_SEGMENT, PortableConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.portable import integer_format
from rdonet_jax.runtime import compilation

TRIED = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
SIDE = 512


def rate(model: zoo.Model, x: jax.Array) -> Callable[[Any, int], float]:
    """Mean log bpp of images [N, H, W, 3] by parameters and quality."""

    @compilation.jit
    def measured(params: Any, quality: jax.Array) -> jax.Array:
        chosen = registry.variance_partition(model.config, x, quality)
        masks = partition.level_masks(chosen)
        coded = registry.code(model.config, params, x, masks, quality)
        bpp = distortion.bpp((coded.y_bits, coded.z_bits), x.shape[1] * x.shape[2])
        return jnp.mean(jnp.log(bpp))

    return lambda params, quality: float(measured(params, jnp.full(len(x), quality, jnp.int32)))


def coarsen_z(params: Any, config: PortableConfig, octaves: Sequence[float]) -> Any:
    """The parameters with steps of z that are wider by `octaves` at each knot of the quality.

    The scales of z follow. The prior of y does not: the integers that it gets of z are smaller.
    """
    low, high = distributions.scale_table(config.distribution)[[0, -1]].astype(float)
    entries_per_octave = (distributions.SCALE_COUNT - 1) / math.log2(high / low)
    wider = np.asarray(octaves, np.float32)[:, None]
    flat = flatten_dict(params)
    for path in flat:
        if path[-1] == "z_gain":
            flat[path] = flat[path] - wider
        elif path[-1] == "z_index":
            per_octave = entries_per_octave / integer_format.Z_INDEX_UNIT
            flat[path] = flat[path] - wider * per_octave
    return unflatten_dict(flat)


def best(model: zoo.Model, judge: Callable[[Any, int], float]) -> Sequence[float]:
    """The octaves of least rate at each knot. Prints all results."""
    chosen = [0.0] * model.config.knots
    print("knot   " + "".join(f"{octaves:>9g}" for octaves in TRIED))
    for knot in range(model.config.knots):
        found = {}
        for octaves in TRIED:
            tried = [0.0] * model.config.knots
            tried[knot] = octaves
            params = coarsen_z(model.params, model.config, tried)
            found[octaves] = judge(params, QUALITY_SEGMENT * knot)
        chosen[knot] = min(found, key=found.get)
        print(f"{knot:<7}" + "".join(f"{value:>9.4f}" for value in found.values()), flush=True)
    return chosen


def main() -> None:
    parser = images_of_folder.parser(__doc__, images=10)
    parser.add_argument("--model", required=True, help="weights of a portable network")
    parser.add_argument("--out", type=Path, help="folder for the weights")
    options = parser.parse_args()
    model = zoo.load(options.model)
    pixels = [image[:SIDE, :SIDE] for image in images_of_folder.load_images(options)]
    judge = rate(model, distortion.from_integers(jnp.asarray(np.stack(pixels))))
    octaves = best(model, judge)
    print("best: " + " ".join(f"{value:g}" for value in octaves))
    if options.out:
        params = coarsen_z(model.params, model.config, octaves)
        record = {**model.record.stored, "hyper_steps": list(octaves)}
        print(zoo.save(options.out, model.name, model.config, params, record, pack=True))


if __name__ == "__main__":
    main()
