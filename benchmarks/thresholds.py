"""Which variance thresholds cost least: bpp + lmbda * 255**2 * MSE over a grid, by the estimate.

    python benchmarks/thresholds.py FOLDER [--model NAME] [--lmbda L]
        [--split64 T ...] [--split32 T ...]
    python benchmarks/thresholds.py FOLDER --model standard --quality Q

With a model of every quality, lambda is that of the quality, and the grid is one of factors of the
thresholds that the model has there.

The thresholds are the encoder's alone, in squared 8-bit grey levels. Take pictures that are for
choosing, not those that results are reported on; `train.py export --thresholds` sets the choice.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rdonet_jax import codec, evaluation, images, objective, partition, pictures, zoo

Choice = Callable[[np.ndarray], partition.Partition]


def by_variance(thresholds: tuple[float, float]) -> Choice:
    """The variance mask with these thresholds."""

    def choose(image: np.ndarray) -> partition.Partition:
        x = codec.pad_picture(image)[0].astype(np.float32) / 255.0
        return partition.trim(partition.variance(x, thresholds), *image.shape[:2])

    return choose


def cost(
    model: zoo.Model,
    originals: Sequence[np.ndarray],
    choose: Choice,
    lmbda: float,
    quality: float | None,
) -> tuple[float, float, float]:
    """Means over pictures of the cost J, of bpp and of PSNR."""
    rows = []
    for image in originals:
        estimate = evaluation.estimate_picture(model, image, choose(image), quality)
        bpp = estimate.bits / (image.shape[0] * image.shape[1])
        x, x_hat = (v.astype(np.float32) / 255.0 for v in (image, estimate.decoded))
        loss = float(objective.rd_loss(bpp, x, x_hat, lmbda, "mse"))
        rows.append((loss, bpp, float(objective.psnr(x, x_hat))))
    return tuple(np.mean(rows, axis=0).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="standard")
    parser.add_argument("--lmbda", type=float, default=0.0067)
    parser.add_argument("--quality", type=float)
    parser.add_argument("--pictures", type=int, help="so many of them, evenly chosen")
    parser.add_argument("--split64", nargs="+", type=float)
    parser.add_argument("--split32", nargs="+", type=float)
    options = parser.parse_args()
    model = zoo.load(options.model)
    paths = pictures.find([options.folder])
    step = len(paths) // options.pictures if options.pictures else 1
    originals = [images.load(path) for path in paths[::step]]
    lmbda, here = options.lmbda, (1.0, 1.0)
    split64, split32 = [0.5, 2, 6, 15, 30, 60], [8, 20, 40, 80, 180]
    number = codec.stream_quality(model.config, options.quality)
    if number is not None:
        lmbda = objective.lmbda_of(model.config, number)
        here = tuple(float(t) for t in objective.thresholds_at(model.config, number))
        split64, split32 = [0.1, 0.3, 1, 3, 10], [0.1, 0.3, 1, 3]
    split64, split32 = options.split64 or split64, options.split32 or split32
    print(f"{len(originals)} pictures, model {model.name}, lmbda {lmbda:.5g}")
    print(f"{'mask':<24}{'J':>9}{'bpp (est.)':>12}{'PSNR dB':>9}")
    choices: dict[str, Choice] = {
        mask: lambda image, mask=mask: codec.choose_partition(model, image, mask, options.quality)
        for mask in codec.MASKS[1:]
    }
    for factors in itertools.product(split64, split32):
        pair = factors[0] * here[0], factors[1] * here[1]
        choices[f"variance {pair[0]:.3g} {pair[1]:.3g}"] = by_variance(pair)
    for name, choose in choices.items():
        j, bpp, psnr = cost(model, originals, choose, lmbda, options.quality)
        print(f"{name:<24}{j:>9.4f}{bpp:>12.4f}{psnr:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
