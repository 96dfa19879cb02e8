"""The columns of the published table on any images: kinds of partitions, by real files.

    python benchmarks/rdo_table.py FOLDER [--model NAME] [--quality Q ...] [--images N]
        [-o OUT.json]

For every quality: J (real bits, the model's own lambda and distortion), bpp, PSNR and MS-SSIM of
the uniform partitions, and after 0, 1 and 2 passes of the fast search from the static start
(uniform-16) and from the variance mask, as means over the images; and how much less J than the
static start, for the best image, the worst, and on average.
"""

from __future__ import annotations

from pathlib import Path

import images_of_folder
import numpy as np
from tqdm import tqdm

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.core.partition import Partition
from rdonet_jax.evaluation import curves
from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.models import zoo
from rdonet_jax.rdo import image_regions, initial_masks
from rdonet_jax.rdo.cost import make_file_cost
from rdonet_jax.rdo.search import regions

COLUMNS = ("uniform-16", "uniform-32", "uniform-64", "static 1", "static 2",
           "variance 0", "variance 1", "variance 2")  # fmt: skip
VALUES = ("J", "bpp", "PSNR", "MS-SSIM")


def partitions(model: zoo.Model, image: np.ndarray, quality: float | None) -> dict[str, Partition]:
    """The partition of every column."""
    chosen = {
        mask: initial_masks.initial_partition(model, image, mask, quality) for mask in COLUMNS[:3]
    }
    for start in (initial_masks.STATIC, "variance"):
        first = initial_masks.initial_partition(model, image, start, quality)
        all_regions = image_regions.of_image(
            model, image, parse_quality(model.config, quality), first
        )
        for passes in range(3):
            *_, chosen[f"{start} {passes}"] = regions.search(all_regions, first, passes)
    return {column: chosen[column] for column in COLUMNS}


def row(model: zoo.Model, image: np.ndarray, quality: float | None) -> np.ndarray:
    """[columns, values] of an image."""
    cost = make_file_cost(
        model, preparation.prepare(model.config, image), parse_quality(model.config, quality)
    )
    found = []
    for p in partitions(model, image, quality).values():
        encoded = codec.encode(model, image, p, quality)
        measures = quality_metrics.measure(image, encoded.image)
        bpp = 8 * len(encoded.data) / image[..., 0].size
        found.append([cost.of(encoded), bpp, measures["psnr"], measures["ms_ssim"]])
    return np.array(found, np.float64)


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--quality", type=float, nargs="+", default=[10.0, 50.0])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    table: dict[str, object] = {"model": model.name, "weights": model.digest.hex()}
    for quality in options.quality:
        rows = np.stack([row(model, image, quality) for image in tqdm(images)])
        print(f"quality {quality:g}, {len(images)} images, real files")
        print(f"{'':<12}" + "".join(f"{name:>9}" for name in VALUES)
              + f"{'best':>9}{'worst':>9}{'average':>9}")  # fmt: skip
        for column, values in zip(COLUMNS, rows.transpose(1, 0, 2), strict=True):
            saved = values[:, 0] / rows[:, 0, 0] - 1
            j, bpp, psnr, ms_ssim = np.mean(values, axis=0)
            print(f"{column:<12}{j:>9.4f}{bpp:>9.4f}{psnr:>9.3f}{ms_ssim:>9.5f}", end="")
            print("".join(f"{part:>+9.1%}" for part in (saved.min(), saved.max(), saved.mean())))
        table[f"quality {quality:g}"] = {
            column: dict(zip(VALUES, values.T.tolist(), strict=True))
            for column, values in zip(COLUMNS, rows.transpose(1, 0, 2), strict=True)
        }
    if options.output:
        curves.write_json(options.output, table, force=True)


if __name__ == "__main__":
    main()
