"""Real files against the estimate, and the decoder against the encoder, picture by picture.

    python benchmarks/rate_check.py FOLDER [--model NAME] [--mask MASK ...]

For every picture and mask: compresses, decompresses, checks that symbols and picture come back bit
for bit, and compares the file's size with the estimated rate. Prints, per mask, the difference in
bytes and in percent, and how far the worst file stays inside estimate + 0.5 % + 100 bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np

from rdonet_jax import codec, evaluation, images, partition, pictures, zoo

KINDS = (*codec.MASKS, "random")


def choose(model: zoo.Model, image: np.ndarray, kind: str, seed: int) -> partition.Partition:
    """The partition of a kind of mask; random ones hang on the seed."""
    if kind != "random":
        return codec.choose_partition(model, image, kind)
    p = partition.random(jax.random.key(seed), partition.grid_of(*image.shape[:2]))
    return partition.trim(p, *image.shape[:2])


def check(model: zoo.Model, image: np.ndarray, p: partition.Partition) -> tuple[int, float]:
    """Bytes of the file and of the estimate. Raises AssertionError when anything differs."""
    encoded = codec.encode(model, image, p)
    decoded = codec.decode(model, encoded.data)
    for ours, theirs in zip(encoded.symbols, decoded.symbols, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(encoded.picture, decoded.picture)
    return len(encoded.data), evaluation.estimate_picture(model, image, p).bits / 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="standard")
    parser.add_argument("--mask", nargs="+", default=list(KINDS), choices=KINDS)
    options = parser.parse_args()
    model = zoo.load(options.model)
    originals = [images.load(path) for path in pictures.find([options.folder])]
    print(f"{len(originals)} pictures, model {model.name}, symbols and pictures bit for bit")
    print(f"{'mask':<12}{'bytes':>9}  {'file - estimate, bytes':^26}{'percent':>18}  worst margin")
    for kind in options.mask:
        rows = [check(model, x, choose(model, x, kind, n)) for n, x in enumerate(originals)]
        size, estimate = np.array(rows).T
        extra = size - estimate
        margin = 0.005 * estimate + 100 - np.abs(extra)
        percent = 100 * extra / estimate
        print(
            f"{kind:<12}{size.mean():>9.0f}  {extra.min():>8.1f}{extra.mean():>9.1f}"
            f"{extra.max():>9.1f}  {percent.min():>8.2f}%{percent.max():>8.2f}%"
            f"{margin.min():>8.1f} bytes"
        )


if __name__ == "__main__":
    main()
