"""What the integer arithmetic of the priors costs: rate of a portable model with it and without.

    python benchmarks/integer_loss.py FOLDER [--model NAME] [--images N]

Without it, the same weights are used as floats: weights, activations, gains, mu and scales are not
rounded (they are clipped as before). Symbols are rounded to the nearest in both, without the dead
zone, by which two rates would belong to two distortions. The rate is the information
content of the symbols given mu and scale, without files: the integer path's cost includes the
nearest entry of the scale table and the grid of mu.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from dead_zone import priced
from originals import IMAGES_HELP, load_images

from rdonet_jax.codec import codec
from rdonet_jax.core import compilation, partition
from rdonet_jax.entropy import distributions
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.portable import network as portable
from rdonet_jax.nn import integer

QUALITIES = (0, 25, 50, 75, 100)


@contextlib.contextmanager
def in_floats() -> Iterator[None]:
    """Takes the roundings out of `exact`, as functions that are traced within see it."""
    changes = {
        "shifted_right": lambda x, bits: x * 2.0**-bits,
        "integers": lambda values, bits, largest: integer.clipped(values * 2.0**bits, largest),
        "powers": lambda exponents: jnp.exp2(exponents / integer.OCTAVE),
        "scaled": lambda x, exponents, bits=0: (
            integer.clipped(x, integer.LARGEST_WIDE)
            * jnp.exp2(exponents / integer.OCTAVE)
            * 2.0**-bits
        ),
        "interpolated": integer.interpolated_smoothly,
    }
    with mock.patch.multiple(integer, **changes):
        yield


def information(self, offset: jax.Array, index: jax.Array, _: object) -> jax.Array:
    """In the place of `PortableRDONet._bits`: information content of the rounded symbols."""
    low, high = distributions.scale_table(self.config.distribution)[[0, -1]].astype(np.float64)
    scale = low * jnp.exp(index * np.log(high / low) / (distributions.SCALE_COUNT - 1))
    return distributions.bits(jnp.round(offset), scale, self.config.distribution)


def rates(model: zoo.Model, originals: list[np.ndarray], quality: float) -> np.ndarray:
    """Bits per pixel of each image, with masks as files have them."""
    number = codec.stream_quality(model.config, quality)

    @compilation.jit
    def bits(params, x, masks):
        coded = registry.code(model.config, params, x, masks, jnp.full(1, number))
        return sum(jnp.sum(m) for m in (*coded.y_bits, *coded.z_bits))

    found = []
    for image in originals:
        p = codec.choose_partition(model, image, "variance", quality)
        masks = [m[None] for m in codec.coded_masks(p, *image.shape[:2])]
        x = distortion.from_integers(partition.pad_picture(image))
        found.append(float(bits(model.params, x, masks)) / (image.shape[0] * image.shape[1]))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="standard")
    parser.add_argument("--images", "--pictures", dest="images", type=int, help=IMAGES_HELP)
    options = parser.parse_args()
    model = zoo.load(options.model)
    originals = load_images(options.folder, options.images)
    print(f"{len(originals)} images, model {model.name}, bits per pixel (information content)")
    print(f"{'quality':>7}{'integers':>10}{'floats':>10}{'loss':>9}")
    with priced(0.0), mock.patch.object(portable.PortableRDONet, "_bits", information):
        for quality in QUALITIES:
            integers = rates(model, originals, quality).mean()
            with in_floats():
                floats = rates(model, originals, quality).mean()
            loss = 100 * (integers / floats - 1)
            print(f"{quality:>7}{integers:>10.4f}{floats:>10.4f}{loss:>8.2f} %", flush=True)


if __name__ == "__main__":
    main()
