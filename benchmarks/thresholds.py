"""Fits the thresholds of the variance mask to searched partitions, and compares the costs.

    python benchmarks/thresholds.py FOLDER [--model NAME] [--quality Q ...] [--images N]

For every quality (default: the knots of the model's scale) it prints the fitted thresholds and the
mean J (estimate) of the uniform masks, of the variance mask with the model's thresholds and with
the fitted ones, and of two passes of search from the latter. At the end it prints the option for
`train.py` and `train.py export`.

Only the encoder uses the thresholds, which are in squared 8-bit gray levels. Use images for
validation, not those on which results are reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.metrics import distortion
from rdonet_jax.models import zoo
from rdonet_jax.rdo import fit_thresholds
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.search.fast import search_fast


def by_variance(image: np.ndarray, pair: Sequence[float]) -> partition.Partition:
    """The variance mask by these thresholds."""
    x = distortion.from_integers(partition.pad_image(image)[0])
    return partition.trim(partition.variance(x, tuple(pair)), *image.shape[:2])


def costs(
    model: zoo.Model, image: np.ndarray, quality: float | None, pair: Sequence[float]
) -> dict[str, float]:
    """J per pixel of an image by kind of partition."""
    rd_cost = RDCost(model, image, quality)
    chosen = {mask: codec.choose_partition(model, image, mask, quality) for mask in codec.MASKS}
    chosen["fitted"] = by_variance(image, pair)
    totals = dict(zip(chosen, rd_cost(list(chosen.values())).totals, strict=True))
    *_, best = search_fast(rd_cost, chosen["fitted"], 2)
    totals["searched"] = best.total
    return {name: total / (image.shape[0] * image.shape[1]) for name, total in totals.items()}


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--quality", type=float, nargs="+")
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    portable = isinstance(model.config, PortableConfig)
    knots = np.linspace(0, 100, model.config.knots).tolist() if portable else [None]
    found = []
    print(f"{len(images)} images, model {model.name}; J (estimate), means")
    for quality in options.quality or knots:
        fitted = fit_thresholds.fit(model, images, quality)
        pair = [f.threshold for f in fitted]
        found += pair
        rows = [costs(model, image, quality, pair) for image in images]
        regrets = " + ".join(f"{f.regret / len(images):.4f}" for f in fitted)
        print(f"quality {quality}: thresholds {pair[0]:.3g} {pair[1]:.3g}, regret {regrets}")
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        print("  " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()), flush=True)
    print("--thresholds " + " ".join(f"{value:.3g}" for value in found))


if __name__ == "__main__":
    main()
