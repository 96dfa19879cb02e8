"""Compile time and steady-state time of compress, decompress and a training step.

    python benchmarks/speed.py [--preset NAME ...] [--image FILE] [--repeats N] [--no-training]
    python benchmarks/speed.py --preset standard paper --compressai
    python benchmarks/speed.py --model standard wide FILE --compressai

The codec is timed on one 768x512 image (a part of FILE, or of a photograph of scikit-image),
training on 8 crops of 256x256. "First" is the first call, with compilation. "Then" is the median of
the repeats. The weights of presets are untrained, with the linear start. That changes only the
number of bytes, not the arithmetic. With `--model`, trained ones code at quality 50. kMAC are
thousands of multiply-accumulates per pixel, as the layers are defined.

With `--compressai`, CompressAI's mbt2018_mean and mbt2018 code the same image in the same run, with
one thread per CPU and untrained weights. Their times are given as multiples of ours. CompressAI is
installed in a separate environment, which is made with pip on first use.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from environments import COMPRESSAI, default_folder, install

from rdonet_jax.codec import codec
from rdonet_jax.core import config, presets
from rdonet_jax.entropy import distributions
from rdonet_jax.imaging import srgb
from rdonet_jax.models import macs, zoo
from rdonet_jax.runtime import processors
from rdonet_jax.training import config as training_config
from rdonet_jax.training import sharding
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state

IMAGE = (512, 768)
CROPS = (8, 256)
WORKER = Path(__file__).with_name("speed_compressai.py")


def timed(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the first call and the median of the calls after it."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return seconds[0], statistics.median(seconds[1:])


def load_image(path: Path | None) -> np.ndarray:
    """A photograph, uint8 [512, 768, 3], mirrored where the source is too small."""
    if path is None:
        import skimage.data

        source = skimage.data.astronaut()
    else:
        source = srgb.load(path)
    missing = [(0, max(0, want - have)) for want, have in zip(IMAGE, source.shape, strict=False)]
    padded = np.pad(source, [*missing, (0, 0)], mode="symmetric")
    return np.ascontiguousarray(padded[: IMAGE[0], : IMAGE[1]])


def untrained(preset: config.AnyConfig) -> zoo.Model:
    """A model with the linear start."""
    params = train_state.starting_params(preset, training_config.TrainingConfig())
    tables = distributions.scale_tables(preset.distribution)
    return zoo.Model("fresh", preset, params, bytes(config.WEIGHTS_BYTES), {}, tables)


def codec_times(model: zoo.Model, image: np.ndarray, repeats: int) -> dict[str, tuple]:
    """Compress and decompress with the variance mask."""
    latest = {}

    def compress() -> None:
        p = codec.choose_partition(model, image, "variance")
        latest["data"] = codec.compress(model, image, p)

    compressing = timed(compress, repeats)
    # A fresh process that only decompresses compiles its own steps: so does this one.
    jax.clear_caches()
    decompressing = timed(lambda: codec.decompress(model, latest["data"]), repeats)
    return {"compress": compressing, "decompress": decompressing}


def training_times(preset: config.AnyConfig, image: np.ndarray, repeats: int) -> tuple:
    """One training step on 8 crops of 256² in memory."""
    count, side = CROPS
    schedule = training_config.TrainingConfig(batch_size=count, crop=side)
    crops = np.stack([image[i : i + side, 2 * i : 2 * i + side] for i in range(count)])
    batch = sharding.shard(training_crops.Batch(np.arange(count, dtype=np.int32), crops))
    step = training_step.make_step(preset, schedule)
    holder = {"state": sharding.replicate(train_state.create_state(preset, schedule))}

    def run() -> object:
        holder["state"], metrics = step(holder["state"], batch, np.float32(0))
        return metrics

    return timed(run, repeats)


def compressai_times(environment: Path, image: np.ndarray, repeats: int) -> dict:
    """The results of `speed_compressai.py` for this image."""
    install(environment, COMPRESSAI)
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "image.npy"
        np.save(pixels, image)
        python = environment / "bin" / "python"
        command = [python, "-W", "ignore", WORKER, pixels, str(repeats), str(processors.usable())]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument("--preset", nargs="+", default=["standard"], choices=presets.PRESETS)
    networks.add_argument("--model", nargs="+", default=[], help="names or weights files")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-training", action="store_true", help="the codec alone")
    parser.add_argument("--compressai", action="store_true", help="compare with CompressAI")
    parser.add_argument(
        "--environment", type=Path, default=default_folder(COMPRESSAI), help="of CompressAI"
    )
    options = parser.parse_args()
    image = load_image(options.image)
    print(f"jax {jax.__version__} on {jax.local_devices()}, median of {options.repeats}")
    print(f"{'network':<16} {'what':<33}{'kMAC':>7}{'first':>9}{'compiling':>11}{'then':>10}")
    ours = {}
    for name in options.model or options.preset:
        model = zoo.load(name) if options.model else untrained(presets.preset(name))
        name = Path(name).stem
        counted = macs.per_pixel(model.config)
        kmacs = {
            "compress": macs.of_encoder(counted) / 1e3,
            "decompress": macs.of_decoder(counted) / 1e3,
        }
        ours[name] = codec_times(model, image, options.repeats)
        for what, seconds in ours[name].items():
            show(name, f"{what} 768x512", kmacs[what], *seconds)
        if not options.no_training:
            first, then = training_times(model.config, image, options.repeats)
            total = sum(counted.values()) / 1e3
            show(name, "training step, 8 crops of 256x256", total, first, then)
            print(f"{name:<16} {'training':<33}{CROPS[0] / then:>10.2f} crops/s")
    if options.compressai:
        compare(ours, compressai_times(options.environment, image, options.repeats))


def compare(ours: dict[str, dict], found: dict) -> None:
    """Prints CompressAI's times, and their ratios to ours."""
    for name, measured in found["networks"].items():
        for what, seconds in measured["seconds"].items():
            show(name, f"{what} 768x512", measured["macs_per_pixel"][what] / 1e3, *seconds)
    for name, measured in found["networks"].items():
        for preset, times in ours.items():
            ratios = [f"{measured['seconds'][w][1] / times[w][1]:.1f} x to {w}" for w in times]
            print(f"{name} against {preset}: {', '.join(ratios)}")
    print("CompressAI: " + ", ".join(f"{k} {v}" for k, v in found["versions"].items()))


def show(name: str, what: str, kmacs: float, first: float, then: float) -> None:
    """A line of the table."""
    print(
        f"{name:<16} {what:<33}{kmacs:>7.1f}{first:>7.2f} s{first - then:>9.2f} s{then:>8.3f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
