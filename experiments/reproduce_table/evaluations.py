"""Evaluates every column of the table by real files: compresses, decompresses and measures.

A column is a contestant with a start and a number of passes of the search. An evaluation is that of
one contestant at one point of its curve on one set of images. Its JSON file is written when it is
complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.reproduce_table import stored
from rdonet_jax.codec import codec
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.evaluation import curves
from rdonet_jax.imaging import srgb
from rdonet_jax.metrics import quality as measures
from rdonet_jax.models import zoo
from rdonet_jax.rdo import image_regions, initial_masks
from rdonet_jax.rdo.cost import trained_loss
from rdonet_jax.rdo.encode_options import MAX_PASSES
from rdonet_jax.rdo.file_cost import FileCost
from rdonet_jax.rdo.search import regions

STARTS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "reference": {},
    "basic": {initial_masks.STATIC: range(3)},
    "var": {initial_masks.STATIC: range(3), "variance": range(3), initial_masks.SOLVED: range(1)},
    "direct": {initial_masks.STATIC: range(1), "variance": range(3)},
}
"""For each contestant the starts of the search, and the numbers of passes from each. The reference
has no search."""


def starts(contestant: str, most_passes: int = MAX_PASSES) -> dict[str, list[int]]:
    """For each start the numbers of passes, at most so many.

    The solved start takes evaluations as a search does. So it is left out where there is no pass.
    """
    return {
        start: [n for n in each if n <= most_passes]
        for start, each in STARTS[contestant].items()
        if most_passes or start != initial_masks.SOLVED
    }


def columns(contestant: str, most_passes: int = MAX_PASSES) -> list[str]:
    """The columns of a contestant with at most so many passes, such as "var, variance, 2"."""
    if not STARTS[contestant]:
        return [contestant]
    each = starts(contestant, most_passes).items()
    return [f"{contestant}, {start}, {n}" for start, passes in each for n in passes]


def chosen(paths: Mapping[str, Path], most: int) -> dict[str, Path]:
    """At most so many of the images, evenly spread over their list."""
    names = list(paths)
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    return {names[place]: paths[names[place]] for place in places}


def partitions(
    model: zoo.Model, contestant: str, image: np.ndarray, quality: float | None, most_passes: int
) -> Iterator[tuple[str, Partition]]:
    """The partition of every column of a contestant."""
    if not STARTS[contestant]:
        yield contestant, codec.choose_partition(model, image, "variance", quality)
        return
    for start, each in starts(contestant, most_passes).items():
        first = initial_masks.initial_partition(model, image, start, quality)
        yield f"{contestant}, {start}, 0", first
        if most := max(each):
            all_regions = image_regions.of_image(
                model, image, parse_quality(model.config, quality), first
            )
            for passes in range(1, most + 1):
                *_, found = regions.search(all_regions, first, passes)
                yield f"{contestant}, {start}, {passes}", found


def coded(
    model: zoo.Model, image: np.ndarray, p: Partition, quality: float | None
) -> dict[str, float | None]:
    """The rate and quality of an image's file, and its cost J as the model's training has it."""
    data = codec.compress(model, image, p, quality)
    decoded = codec.decompress(model, data)
    seen = measures.measure(image, decoded)
    pixels = image.shape[0] * image.shape[1]
    cost = FileCost(trained_loss(model, parse_quality(model.config, quality)), image)(
        len(data), decoded
    )
    return {
        "bpp": 8 * len(data) / pixels,
        "psnr": seen["psnr"],
        "ms_ssim": seen["ms_ssim"],
        "cost": cost,
    }


def evaluate(
    target: Path,
    weights: Path,
    contestant: str,
    images: Mapping[str, Path],
    quality: float | None = None,
    most_passes: int = MAX_PASSES,
) -> dict[str, Any]:
    """Results by column and image, from the file `target` if it exists. Else makes the file.

    Columns have at most `most_passes` passes of the search. The level maps of the first image are
    stored in a file next to it, for drawings.
    """
    if target.exists():
        return stored.read(target)
    model = zoo.load(str(weights))
    found: dict[str, dict[str, Any]] = {column: {} for column in columns(contestant, most_passes)}
    for number, (name, path) in enumerate(tqdm(images.items(), delay=2, leave=False)):
        image = srgb.load(path)
        maps = {}
        for column, p in partitions(model, contestant, image, quality, most_passes):
            found[column][name] = coded(model, image, p, quality)
            maps[column] = np.asarray(partition.level_map(p))
        if number == 0:
            target.parent.mkdir(parents=True, exist_ok=True)
            np.savez(target.with_suffix(".npz"), **maps)
    curves.write_json(target, found, force=True)
    return found
