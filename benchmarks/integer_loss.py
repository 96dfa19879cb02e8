"""The cost of integer arithmetic in the priors: the rate of a portable model with it and without.

    python benchmarks/integer_loss.py FOLDER [--model NAME] [--images N]

Without it, weights, activations, gains, mu and scales are floats, clipped as before but not
rounded. In both cases symbols are rounded to the nearest integer, without a dead zone, so that the
distortions are equal. The rate is the information content of the symbols given mu and scale, not
the size of files. The cost of the integer arithmetic includes the rounding of scales to the table
and of mu to its grid.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import images_of_folder
import jax
import jax.numpy as jnp
import numpy as np
from dead_zone import priced

from rdonet_jax.codec import codec, qualities
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.entropy import bit_cost, distributions, likelihoods
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry, zoo
from rdonet_jax.nn import integer
from rdonet_jax.runtime import compilation

QUALITIES = (0, 25, 50, 75, 100)


@contextlib.contextmanager
def in_floats() -> Iterator[None]:
    """A context in which functions that are traced have no rounding in `nn.integer`."""
    changes = {
        "shift_right": lambda x, bits: x * 2.0**-bits,
        "to_integers": lambda values, bits, largest: integer.clip(values * 2.0**bits, largest),
        "powers": lambda exponents: jnp.exp2(exponents / integer.OCTAVE),
        "scale": lambda x, exponents, bits=0: (
            integer.clip(x, integer.LARGEST_WIDE)
            * jnp.exp2(exponents / integer.OCTAVE)
            * 2.0**-bits
        ),
        "interpolate": integer.interpolate_unrounded,
        # The function itself: its traces from before, which JAX keeps, round.
        "activation": integer.activation.__wrapped__,
    }
    with mock.patch.multiple(integer, **changes):
        yield


def information(symbols: jax.Array, index: jax.Array, distribution: str) -> jax.Array:
    """Replaces `bit_cost.entry_bits`: the information content of symbols."""
    low, high = distributions.scale_table(distribution)[[0, -1]].astype(np.float64)
    scale = low * jnp.exp(index * np.log(high / low) / (distributions.SCALE_COUNT - 1))
    return likelihoods.bits(symbols, scale, distribution)


def information_of_rounded(
    _: jax.Array, symbols: jax.Array, index: jax.Array, distribution: str
) -> jax.Array:
    """Replaces `bit_cost.quantized_bits`."""
    return information(symbols, index, distribution)


def rates(model: zoo.Model, images: list[np.ndarray], quality: float) -> np.ndarray:
    """Bits per pixel of each image, with masks as files have them."""
    number = qualities.stream_quality(model.config, quality)

    @compilation.jit
    def bits(params, x, masks):
        coded = registry.code(model.config, params, x, masks, jnp.full(1, number))
        return sum(jnp.sum(m) for m in (*coded.y_bits, *coded.z_bits))

    found = []
    for image in images:
        p = codec.choose_partition(model, image, "variance", quality)
        masks = [m[None] for m in codec.coded_masks(p, *image.shape[:2])]
        x = distortion.from_integers(partition.pad_image(image))
        found.append(float(bits(model.params, x, masks)) / (image.shape[0] * image.shape[1]))
    return np.array(found)


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    print(f"{len(images)} images, model {model.name}, bits per pixel (information content)")
    print(f"{'quality':>7}{'integers':>10}{'floats':>10}{'loss':>9}")
    bits = {"entry_bits": information, "quantized_bits": information_of_rounded}
    with priced(0.0), mock.patch.multiple(bit_cost, **bits):
        for quality in QUALITIES:
            integers = rates(model, images, quality).mean()
            with in_floats():
                floats = rates(model, images, quality).mean()
            loss = 100 * (integers / floats - 1)
            print(f"{quality:>7}{integers:>10.4f}{floats:>10.4f}{loss:>8.2f} %", flush=True)


if __name__ == "__main__":
    main()
