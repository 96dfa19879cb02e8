"""Which variance thresholds cost least: bpp + lmbda * 255**2 * MSE over a grid, by the estimate.

    python benchmarks/thresholds.py FOLDER [--model NAME] [--lmbda L]
        [--split64 T ...] [--split32 T ...]

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
    model: zoo.Model, originals: Sequence[np.ndarray], choose: Choice, lmbda: float
) -> tuple[float, float, float]:
    """Means over pictures of the cost J, of bpp and of PSNR."""
    rows = []
    for image in originals:
        estimate = evaluation.estimate_picture(model, image, choose(image))
        bpp = estimate.bits / (image.shape[0] * image.shape[1])
        x, x_hat = (v.astype(np.float32) / 255.0 for v in (image, estimate.decoded))
        loss = float(objective.rd_loss(bpp, x, x_hat, lmbda, "mse"))
        rows.append((loss, bpp, float(objective.psnr(x, x_hat))))
    return tuple(np.mean(rows, axis=0).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--lmbda", type=float, default=0.0067)
    parser.add_argument("--split64", nargs="+", type=float, default=[0.5, 2, 6, 15, 30, 60])
    parser.add_argument("--split32", nargs="+", type=float, default=[8, 20, 40, 80, 180])
    options = parser.parse_args()
    model = zoo.load(options.model)
    originals = [images.load(path) for path in pictures.find([options.folder])]
    print(f"{len(originals)} pictures, model {model.name}, lmbda {options.lmbda}")
    print(f"{'mask':<24}{'J':>9}{'bpp (est.)':>12}{'PSNR dB':>9}")
    choices: dict[str, Choice] = {
        mask: lambda image, mask=mask: codec.choose_partition(model, image, mask)
        for mask in codec.MASKS[1:]
    }
    for pair in itertools.product(options.split64, options.split32):
        choices[f"variance {pair[0]:g} {pair[1]:g}"] = by_variance(pair)
    for name, choose in choices.items():
        j, bpp, psnr = cost(model, originals, choose, options.lmbda)
        print(f"{name:<24}{j:>9.4f}{bpp:>12.4f}{psnr:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
