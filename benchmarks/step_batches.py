"""Images per second with equal steps of several images in one batch, and without.

    python benchmarks/step_batches.py [--images 16] [--width 300] [--height 200] [--model NAME]
        [--batches 1 4 16] [--rounds 3]

As many threads as the largest batch encode the images, and then decode them, by JAX on its default
device. The median of the rounds after a first one, which compiles, is given; 1 is without batches.
Besides, how many files are those of the first way, byte for byte, and by how much a sample of a
decoded image differs from those, at most.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from PIL import Image

from rdonet_jax.codec import codec
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.models import zoo
from rdonet_jax.models.step_batches import StepBatches
from rdonet_jax.models.zoo import Model


def images(count: int, width: int, height: int) -> list[np.ndarray]:
    """Smooth random fields with some noise."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)) for _ in range(count)]
    smooth = [np.asarray(c.resize((width, height), Image.Resampling.BICUBIC)) for c in coarse]
    noisy = [field + rng.normal(0, 4, field.shape) for field in smooth]
    return [field.clip(0, 255).astype(np.uint8) for field in noisy]


def in_threads(model: Model, threads: int, work, items: list) -> tuple[list, float]:
    """What `work` gives for all items, and the seconds."""

    def one(item: object) -> object:
        with model.batches.member() if model.batches else contextlib.nullcontext():
            return work(item)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(one, items))
    return found, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--height", type=int, default=200)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    loaded = zoo.load(options.model)
    pixels = images(options.images, options.width, options.height)
    threads = max(options.batches)
    print(f"{options.images} images of {options.width}x{options.height}, {loaded.name}, "
          f"{threads} threads, {jax.default_backend()}")  # fmt: skip
    print(
        f"{'batches of':>10}{'encoded/s':>11}{'decoded/s':>11}{'equal files':>13}{'differ by':>11}"
    )
    first = None
    for size in options.batches:
        model = loaded
        if size > 1:
            model = loaded.replace(batches=StepBatches(size, on_cpus=True))

        def encode(image: np.ndarray, model: Model = model) -> bytes:
            p = codec.choose_partition(model, image, "variance")
            return codec.encode(model, image, p, reconstruct=False, engine="jax").data

        def decode(data: bytes, model: Model = model) -> np.ndarray:
            return codec.decode(model, data, engine="jax").image

        seconds = []
        for _ in range(options.rounds + 1):
            files, encoding = in_threads(model, threads, encode, pixels)
            decoded, decoding = in_threads(model, threads, decode, first[0] if first else files)
            seconds.append((encoding, decoding))
        first = first or (files, decoded)
        equal = sum(a == b for a, b in zip(files, first[0], strict=True))
        most = max(np.abs(a.astype(int) - b).max() for a, b in zip(decoded, first[1], strict=True))
        rates = [
            options.images / statistics.median(part) for part in zip(*seconds[1:], strict=True)
        ]
        print(f"{size:>10}{rates[0]:>11.1f}{rates[1]:>11.1f}{equal:>13}{most:>11}", flush=True)


if __name__ == "__main__":
    main()
