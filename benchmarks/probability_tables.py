"""How well the tables of the range coder fit the latents, and what adapting them could gain.

    python benchmarks/probability_tables.py FOLDER [--model NAME] [--images N]

Real files of all images at five qualities with variance masks. The columns, in percent of the bytes
of all files:

- the bits of the hyper-latents and of the latents,
- what one offset of the scale indices for each group of channels would save, sent with each
  image in 4 bits, and none where it does not pay,
- what tables of any shape would save: for each scale index, the frequencies of the symbols in all
  other images, mixed with the present table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core.config import COARSE_TO_FINE
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.entropy import distributions, range_coder, table_costs
from rdonet_jax.entropy.runs import Run
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.portable.integer_format import PLANES

QUALITIES = (10, 30, 50, 70, 90)
OFFSETS = range(-6, 7)
OFFSET_BITS = 4
SIZES = 64
"""Absolute values of symbols below it have frequencies of their own."""
PRESENT_WEIGHT = 300
"""Symbols that the present table counts for, beside those of other images."""


@contextlib.contextmanager
def recorded_runs() -> Iterator[list[list[Run]]]:
    """A context in which all that goes to the range coder is put into the list, too."""
    streams: list[list[Run]] = []
    encode = range_coder.encode

    def record(runs, tables, name):
        streams.append([(np.asarray(symbols), np.asarray(index)) for symbols, index in runs])
        return encode(streams[-1], tables, name)

    with mock.patch.object(range_coder, "encode", record):
        yield streams


def coded(model: zoo.Model, image: np.ndarray, quality: float) -> tuple[int, list[list[Run]]]:
    """Bits of a file, and the runs of its levels from the coarsest to the finest."""
    p = codec.choose_partition(model, image, "variance", quality)
    with recorded_runs() as streams:
        encoded = codec.encode(model, image, p, quality, reconstruct=False)
    return 8 * len(encoded.data), streams[: model.config.levels]


def bits_of(symbols: np.ndarray, index: np.ndarray, distribution: str) -> float:
    """Bits of symbols by the tables of these indices; escapes without what follows them."""
    costs = table_costs.costs(distribution)
    entry = np.minimum(np.abs(symbols.astype(np.int64)), costs.last[index] + 1)
    return float(costs.bits[index, entry].sum(dtype=np.float64))


def groups_of(runs: list[Run], count: int) -> Iterator[Run]:
    """The latents of a level by group of channels, from its runs after the hyper-latents."""
    for group in range(count):
        planes = runs[1 + group :: count]
        yield tuple(np.concatenate(values) for values in zip(*planes, strict=True))


def saved_by_offset(symbols: np.ndarray, index: np.ndarray, distribution: str) -> float:
    """Bits that the best offset of the scale indices saves, and at least 0."""
    highest = distributions.SCALE_COUNT - 1
    index = index.astype(np.int64)
    bits = {
        offset: bits_of(symbols, np.clip(index + offset, 0, highest), distribution)
        for offset in OFFSETS
    }
    return max(0.0, bits[0] - min(bits.values()) - OFFSET_BITS)


def histogram(runs: list[Run]) -> np.ndarray:
    """Counts of absolute symbols below `SIZES` by scale index, [64, SIZES]."""
    counts = np.zeros((distributions.SCALE_COUNT, SIZES))
    for symbols, index in runs:
        sizes = np.abs(symbols.astype(np.int64))
        np.add.at(counts, (index[sizes < SIZES], sizes[sizes < SIZES]), 1)
    return counts


def present_probabilities(distribution: str) -> np.ndarray:
    """Probabilities of absolute symbols by scale index, [64, SIZES]; 0 for those that escape."""
    costs = table_costs.costs(distribution)
    found = np.zeros((distributions.SCALE_COUNT, SIZES))
    for row, last, bits in zip(found, costs.last, costs.bits, strict=True):
        end = min(last + 1, SIZES)
        row[:end] = 2.0 ** -bits[:end]
    found[:, 1:] *= 2  # either sign
    return found


def saved_by_tables(histograms: np.ndarray, distribution: str) -> float:
    """Bits that tables fitted to all other images save; histograms are [images, 64, SIZES]."""
    present = present_probabilities(distribution)
    counts = histograms * (present > 0)
    saved = 0.0
    for own in counts:
        others = counts.sum(0) - own
        mixed = others + PRESENT_WEIGHT * present
        fitted = mixed * (present.sum(1) / mixed.sum(1))[:, None]  # escapes keep their share
        ratio = np.where(present > 0, fitted, 1) / np.where(present > 0, present, 1)
        saved += float((own * np.log2(ratio)).sum())
    return saved


def measure(model: zoo.Model, images: list[np.ndarray], quality: float) -> list[float]:
    """Bits of all files, and the columns in bits."""
    distribution = model.config.distribution
    total = hyper = latents = by_offset = 0.0
    histograms = []
    for image in images:
        bits, levels = coded(model, image, quality)
        total += bits
        runs_of_image = []
        for level, runs in zip(COARSE_TO_FINE[-len(levels) :], levels, strict=True):
            groups = integer_format.channel_groups(model.config, level)
            assert len(runs) == 1 + len(PLANES) * len(groups)
            hyper += bits_of(*runs[0], distribution)
            for group in groups_of(runs, len(groups)):
                latents += bits_of(*group, distribution)
                by_offset += saved_by_offset(*group, distribution)
                runs_of_image.append(group)
        histograms.append(histogram(runs_of_image))
    return [total, hyper, latents, by_offset, saved_by_tables(np.array(histograms), distribution)]


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    print(f"{len(images)} images, model {model.name}, percent of the bytes of all files")
    print(f"{'quality':>8}{'z':>9}{'y':>9}{'offsets':>10}{'tables':>9}")
    for quality in QUALITIES:
        total, hyper, latents, *saved = measure(model, images, quality)
        shares = [100 * hyper / total, 100 * latents / total, *(-100 * v / total for v in saved)]
        print("{:>8}{:>9.2f}{:>9.2f}{:>10.2f}{:>9.2f}".format(quality, *shares), flush=True)


if __name__ == "__main__":
    main()
