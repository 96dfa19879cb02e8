"""Example images for a report: coded by a model, and by conventional codecs at the same rate.

Each has the partition of the model and a map of its bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import DEFAULT_CODER
from rdonet_jax.core.shard import WHOLE, Shard
from rdonet_jax.evaluation import anchors, measures, real_files
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.evaluation.measures import EvaluationError
from rdonet_jax.imaging import dataset
from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.models import zoo
from rdonet_jax.rdo import coding
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan


@dataclasses.dataclass(frozen=True)
class ShowcaseOptions:
    """Which examples to make.

    Attributes:
      data: folders of images, whose first ones are taken.
      model: name of a bundled model, or the path of a weights file.
      quality: of the model; None for the default, or for a fixed-rate model.
      plan: how partitions are chosen.
      coder: the range coder.
      anchors: names of `anchors.ANCHORS`; those that are not installed are left out.
      count: the largest number of images.
      metrics: names of metrics beside the default ones.
      shard: the part of the images whose first ones are taken.
    """

    data: Sequence[str | Path]
    model: str
    quality: float | None = None
    plan: Plan = dataclasses.field(default_factory=Plan)
    coder: str = DEFAULT_CODER
    anchors: Sequence[str] = ()
    count: int = 4
    metrics: tuple[str, ...] = ()
    shard: Shard = WHOLE

    def __post_init__(self) -> None:
        if self.count < 0:
            raise EvaluationError(f"the number of images to show is not {self.count}")


class Version(NamedTuple):
    """A decoded image."""

    name: str
    setting: str  # of the codec, as text
    size: int  # bytes of the file
    bpp: float
    quality: Mapping[str, float | None]  # as in `Row`
    image: np.ndarray  # uint8 [H, W, 3]


class Example(NamedTuple):
    """An image of the report and its decoded versions."""

    name: str
    original: np.ndarray  # uint8 [H, W, 3]
    versions: tuple[Version, ...]  # the model's first
    levels: np.ndarray  # uint8 [ceil(H/64)*4, ceil(W/64)*4], the level of each area of 16x16
    shares: tuple[float, float, float]  # of the area, by level
    density: np.ndarray  # bits per pixel of each area of 16x16 (estimate), shape of `levels`


def images(options: ShowcaseOptions) -> list[Example]:
    """The example images with all their versions. Raises as `real_files.evaluate` does."""
    if not options.count:
        return []
    model = zoo.load(options.model)
    names, _ = anchors.available(options.anchors)
    paths = list(real_files.named_images(options.data, options.shard).items())[: options.count]
    return [
        _example(options, model, names, name, dataset.load(path))
        for name, path in tqdm(paths, delay=2, leave=False, desc="images of the report")
    ]


def _example(
    options: ShowcaseOptions,
    model: zoo.Model,
    names: Sequence[str],
    name: str,
    original: np.ndarray,
) -> Example:
    with measures.naming(name):
        encoding = EncodeOptions(options.quality, plan=options.plan, coder=options.coder)
        coded = coding.encode(model, original, encoding)
        data, decoded = coded.encoded.data, codec.decode(model, coded.encoded.data)
    estimate = evaluation_estimate.estimate_image(
        model, original, decoded.partition, options.quality
    )
    setting = "" if decoded.quality is None else f"quality {decoded.quality:g}"
    versions = [_version(options, model.name, setting, len(data), original, decoded.image)]
    for anchor in (anchors.ANCHORS[n] for n in names):
        with measures.naming(name):
            at, theirs = anchors.at_rate(anchor, original, len(data))
        varied = anchor.varied.replace("quality_layers", "ratio")
        versions.append(
            _version(options, anchor.label, f"{varied} {at}", theirs.size, original, theirs.decoded)
        )
    height, width = original.shape[:2]
    return Example(
        name,
        original,
        tuple(versions),
        np.asarray(partition.level_map(decoded.partition)),
        partition.block_shares(decoded.partition, height, width),
        estimate.density,
    )


def _version(
    options: ShowcaseOptions,
    name: str,
    setting: str,
    size: int,
    original: np.ndarray,
    decoded: np.ndarray,
) -> Version:
    bpp = measures.bits_per_pixel(size, original)
    seen = quality_metrics.measure(original, decoded, options.metrics)
    return Version(name, setting, size, bpp, seen, decoded)
