"""Conventional codecs at the rates of a model: every image in a file of as many bytes, if possible.

For each image and each point of the model's curve, the codec takes the setting whose file is the
closest in size. So codecs are compared without interpolation, in one table and in all metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from rdonet_jax.evaluation import anchors, curves, measures
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.measures import NamedImage
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics import quality


def curve_name(anchor: str, model: str) -> str:
    """The name of the curve of an anchor at the rates of a model's, from the names of both."""
    return f"{anchor} at {model}"


def curve(
    name: str, images: Sequence[NamedImage], model: Curve, metrics: Sequence[str] = ()
) -> Curve:
    """The anchor's curve at the rates of a model's, which has results of all these images.

    A point has the quality of the model's point. `metrics` are names of metrics beside the default
    ones. Raises `MissingAnchorError` as `anchors.require` does, and `EvaluationError` with the name
    of an image that the codec refuses.
    """
    anchor = anchors.require(name)
    points = tuple(_point(anchor, images, point, metrics) for point in model.points)
    kind = f"{anchors.kind(anchor)}; at the file sizes of {model.name}"
    settings = {
        **anchors.settings(anchor),
        "at_sizes_of": model.name,
        **measures.recorded(metrics),
    }
    return Curve(curve_name(name, model.name), curves.description(kind, points), points, settings)


def _point(
    anchor: anchors.Anchor, images: Sequence[NamedImage], point: Point, metrics: Sequence[str]
) -> Point:
    rates = {row.name: row.bpp for row in point.rows}
    rows = []
    for name, pixels in tqdm(images, delay=5, leave=False, desc=anchor.label):
        size = round(rates[name] * pixels.shape[0] * pixels.shape[1] / 8)
        with measures.naming(name):
            _, coded = anchors.at_rate(anchor, pixels, size)
        seen = quality.measure(pixels, coded.decoded, metrics)
        bpp = measures.bits_per_pixel(coded.size, pixels)
        rows.append(Row(name, bpp, seen, coded.encoding_time, coded.decoding_time))
    return curves.point(point.quality, rows)
