"""Compile time and steady-state time of compress, decompress and a training step.

    python benchmarks/speed.py [--preset NAME ...] [--picture FILE] [--repeats N]

Times of the codec are of one 768x512 picture (a part of FILE, or of a photograph of scikit-image),
those of training of 8 crops of 256x256. "First" is the first call of all, compilation included;
"then" is the median of the repeats. The weights are fresh ones at the linear start: that does not
change the arithmetic, only the number of bytes that the range coder has to move.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rdonet_jax import codec, config, images, training, zoo
from rdonet_jax.models import linear, rdonet

PICTURE = (512, 768)
CROPS = (8, 256)


def timed(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the first call and the median of the calls after it."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return seconds[0], statistics.median(seconds[1:])


def load_picture(path: Path | None) -> np.ndarray:
    """uint8 [512, 768, 3] of real detail, mirrored where the source is too small."""
    if path is None:
        import skimage.data

        source = skimage.data.astronaut()
    else:
        source = images.load(path)
    missing = [(0, max(0, want - have)) for want, have in zip(PICTURE, source.shape, strict=False)]
    padded = np.pad(source, [*missing, (0, 0)], mode="symmetric")
    return np.ascontiguousarray(padded[: PICTURE[0], : PICTURE[1]])


def codec_times(preset: config.ModelConfig, image: np.ndarray, repeats: int) -> dict[str, tuple]:
    """Compress and decompress with the variance mask."""
    params = linear.initialise(rdonet.initialise(preset, jax.random.key(0)), preset, 0.0067)
    model = zoo.Model("fresh", preset, params, bytes(8), {})
    latest = {}

    def compress() -> None:
        p = codec.choose_partition(model, image, "variance")
        latest["data"] = codec.compress(model, image, p)

    compressing = timed(compress, repeats)
    # A fresh process that only decompresses compiles its own steps: so does this one.
    jax.clear_caches()
    decompressing = timed(lambda: codec.decompress(model, latest["data"]), repeats)
    return {"compress": compressing, "decompress": decompressing}


def training_times(preset: config.ModelConfig, image: np.ndarray, repeats: int) -> tuple:
    """One step on 8 crops of 256², data already in memory."""
    count, side = CROPS
    schedule = config.TrainingConfig(batch_size=count, crop=side)
    crops = np.stack([image[i : i + side, 2 * i : 2 * i + side] for i in range(count)])
    step = training.make_step(preset, schedule)
    holder = {"state": training.replicate(training.create_state(preset, schedule))}

    def run() -> object:
        holder["state"], metrics = step(holder["state"], training.shard(crops))
        return metrics

    return timed(run, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", nargs="+", default=["small"], choices=list(config.PRESETS))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    image = load_picture(options.picture)
    print(f"jax {jax.__version__} on {jax.local_devices()}, median of {options.repeats}")
    print(f"{'preset':<8}{'what':<34}{'first':>9}{'compiling':>11}{'then':>10}")
    for name in options.preset:
        preset = config.preset(name)
        rows = {
            f"{what} 768x512": seconds
            for what, seconds in codec_times(preset, image, options.repeats).items()
        }
        rows["training step, 8 crops of 256x256"] = training_times(preset, image, options.repeats)
        for what, (first, then) in rows.items():
            print(f"{name:<8}{what:<34}{first:>7.2f} s{first - then:>9.2f} s{then:>8.3f} s")
        print(f"{name:<8}{'training':<34}{CROPS[0] / then:>8.2f} crops/s")


if __name__ == "__main__":
    main()
