"""Compares real files with the estimated rate, and the decoder with the encoder, for every image.

    python benchmarks/rate_check.py FOLDER [--model NAME] [--mask MASK ...] [--quality Q]
        [--coder constriction tfc] [--images N]

For every image, mask and range coder it compresses, decompresses, checks that symbols and image are
equal bit by bit, and compares the size with the estimate. For every mask and coder it prints how
much larger the files are, in bytes and in percent, the distance of the worst file to the limit
estimate + 0.5 % + 100 bytes, and how much larger the coded levels are than the estimates. The
estimates do not include the container and the partition.
"""

from __future__ import annotations

import images_of_folder
import jax
import numpy as np

from rdonet_jax.codec import bitstream, codec
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import DEFAULT_CODER, DEFAULT_MODEL
from rdonet_jax.entropy import range_coder
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.models import zoo

KINDS = (*codec.MASKS, "random")


def choose(
    model: zoo.Model, image: np.ndarray, kind: str, seed: int, quality: float | None
) -> partition.Partition:
    """The partition of a kind of mask; random ones depend on the seed."""
    if kind != "random":
        return codec.choose_partition(model, image, kind, quality)
    p = partition.random(jax.random.key(seed), partition.block_grid(*image.shape[:2]))
    return partition.trim(p, *image.shape[:2])


def check(
    model: zoo.Model,
    image: np.ndarray,
    p: partition.Partition,
    quality: float | None,
    coders: list[str],
) -> tuple[list[tuple[int, int]], float]:
    """By coder, bytes of the file and of its levels; bytes of the estimate.

    Raises AssertionError when anything differs.
    """
    sizes, expected = [], None
    for name in coders:
        encoded = codec.encode(model, image, p, quality, name)
        decoded = codec.decode(model, encoded.data)
        expected = expected or encoded
        for symbols in (encoded.symbols, decoded.symbols):
            for ours, theirs in zip(expected.symbols, symbols, strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(encoded.image, decoded.image)
        _, sections = bitstream.parse(encoded.data)
        sizes.append((len(encoded.data), sum(map(len, sections)) - len(sections.partition)))
    return sizes, evaluation_estimate.estimate_image(model, image, p, quality).bits / 8


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--mask", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--quality", type=float)
    parser.add_argument("--coder", nargs="+", default=[DEFAULT_CODER], choices=range_coder.CODERS)
    options = parser.parse_args()
    model, originals = images_of_folder.model_and_images(options)
    print(f"{len(originals)} images, model {model.name}, symbols and images bit for bit")
    print(
        f"{'mask':<12}{'coder':<14}{'bytes':>9}  {'file - estimate, bytes':^26}{'percent':>18}"
        "  worst margin  levels - estimate"
    )
    for kind in options.mask:
        rows = [
            check(model, x, choose(model, x, kind, n, options.quality), options.quality,
                  options.coder)
            for n, x in enumerate(originals)
        ]  # fmt: skip
        estimate = np.array([bits for _, bits in rows])
        for at, name in enumerate(options.coder):
            size, levels = np.array([sizes[at] for sizes, _ in rows]).T
            extra = size - estimate
            margin = 0.005 * estimate + 100 - np.abs(extra)
            percent = 100 * extra / estimate
            print(
                f"{kind:<12}{name:<14}{size.mean():>9.0f}  {extra.min():>8.1f}{extra.mean():>9.1f}"
                f"{extra.max():>9.1f}  {percent.min():>8.2f}%{percent.max():>8.2f}%"
                f"{margin.min():>8.1f} bytes{levels.sum() / estimate.sum() - 1:>+18.3%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
