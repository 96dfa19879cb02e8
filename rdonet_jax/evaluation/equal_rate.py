"""Conventional codecs at the rates of a model: every image in a file of as many bytes, if possible.

For each image and each point of the model's curve, the codec takes the setting whose file is the
closest in size. So codecs are compared without interpolation, in one table and in all metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rdonet_jax.evaluation import anchors, curves, measures
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.measures import NamedImage


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
        **measures.software_settings(metrics),
    }
    return Curve(curve_name(name, model.name), curves.description(kind, points), points, settings)


def _point(
    anchor: anchors.Anchor, images: Sequence[NamedImage], point: Point, metrics: Sequence[str]
) -> Point:
    """The point at the sizes of the model's files of a point."""
    rates = {row.name: row.bpp for row in point.rows}

    def code_image(image: NamedImage) -> anchors.Coded:
        size = round(rates[image.name] * math.prod(image.pixels.shape[:2]) / 8)
        return anchors.at_rate(anchor, image.pixels, size)[1]

    return anchors.point(anchor, images, code_image, point.quality, metrics)
