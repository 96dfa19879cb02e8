"""The gain of the encoder's dead zone: Bjøntegaard rates against rounding, by the price of a bit.

    python benchmarks/dead_zone.py FOLDER [--price X ...] [--images N] [--model NAME]

Real files of all images at five qualities with variance masks, and 8-bit metrics. The price is in
squared quantizer steps, see `entropy/dead_zone.py`. A price of 0 is rounding to the nearest
integer.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from unittest import mock

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.entropy import dead_zone
from rdonet_jax.evaluation import bd_rates, measures
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.models import zoo

QUALITIES = (10, 30, 50, 70, 90)
METRICS = ("psnr", "ms_ssim")
PRICES = (0.0, 0.012, 0.023, 0.035, dead_zone.PRICE, 0.058, 0.116)


@contextlib.contextmanager
def priced(price: float) -> Iterator[None]:
    """A context in which the dead zone has another price."""
    bounds = functools.partial(dead_zone.zero_bounds, price=price)
    with mock.patch.object(dead_zone, "zero_bounds", bounds):
        yield


def coded(model: zoo.Model, image: np.ndarray, quality: float) -> list[float]:
    """Bits per pixel of a file, and `METRICS` of its image."""
    p = codec.choose_partition(model, image, "variance", quality)
    encoded = codec.encode(model, image, p, quality)
    seen = quality_metrics.measure(image, encoded.image)
    rate = measures.bits_per_pixel(len(encoded.data), image)
    return [rate, *(seen[metric] for metric in METRICS)]


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--price", type=float, nargs="+", default=PRICES)
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    print(f"{len(images)} images, model {model.name}, qualities {QUALITIES}")
    print(f"{'price':>8}{'PSNR':>10}{'MS-SSIM':>10}   bpp at quality 50")
    reference = {}
    for price in dict.fromkeys((0.0, *options.price)):
        with priced(price):
            found = [[coded(model, image, q) for image in images] for q in QUALITIES]
        rows = []
        for quality, of in zip(QUALITIES, found, strict=True):
            rate, *seen = np.mean(of, axis=0)
            rows.append(Row(str(quality), rate, dict(zip(METRICS, seen, strict=True)), 0, 0))
        lines = {metric: bd_rates.line(rows, metric) for metric in METRICS}
        reference = reference or lines
        rates = [bd_rates.bd_rate(lines[m], reference[m]).percent for m in METRICS]
        print(f"{price:>8.3f}{rates[0]:>+9.2f}%{rates[1]:>+9.2f}%   {rows[2].bpp:.4f}", flush=True)


if __name__ == "__main__":
    main()
