"""Crops per second from a folder of images and from its shards, every image decoded for each crop.

    python benchmarks/shards.py FOLDER [--crops 200] [--rounds 5] [--threads 2]

Packs the images of the folder into ArrayRecord and tar shards in a temporary folder. All three take
turns. Given are medians over the rounds, by the clock and per second of processor time, which other
programs disturb less, and how long it takes to find the images. The system's cache of files is
left as it is: from memory, what remains is the work of opening, reading and decoding.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rdonet_jax.imaging import dataset, shard_writer, shards
from rdonet_jax.imaging.dataset import ImageDataset
from rdonet_jax.training.batches import crops
from rdonet_jax.training.config import TrainingConfig


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crops", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--crop", type=int, default=256)
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> list[str]:
    """The lines of the table."""
    config = TrainingConfig(crop=options.crop)
    with tempfile.TemporaryDirectory() as temporary:
        sources = {"folder": options.folder}
        for kind in shards.KINDS:
            sources[kind] = Path(temporary) / kind
            shard_writer.pack([options.folder], sources[kind], kind)
        found = {name: _found(source, options.crop) for name, source in sources.items()}
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
        for number in range(options.rounds + 1):
            for name, (images, _) in found.items():
                rate = _rates(images, config, number * options.crops, options)
                if number:  # the first round opens files
                    rates[name].append(rate)
    count = len(found["folder"][0].paths)
    lines = [f"{count} images, {options.threads} threads, crops of {options.crop}"]
    lines.append(f"{'':<14}{'crops/s':>10}{'per CPU s':>11}{'found in s':>12}")
    for name, values in rates.items():
        clock, processor = (statistics.median(column) for column in zip(*values, strict=True))
        lines.append(f"{name:<14}{clock:>10.1f}{processor:>11.1f}{found[name][1]:>12.3f}")
    return lines


def _found(source: Path, crop: int) -> tuple[ImageDataset, float]:
    """The images, of which none is kept decoded, and the seconds that finding them took."""
    began = time.perf_counter()
    images = dataset.usable(dataset.find([source]), crop, cache_bytes=0)
    return images, time.perf_counter() - began


def _rates(
    images: ImageDataset, config: TrainingConfig, first: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Crops per second by the clock, and per second of processor time."""
    began, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(options.threads) as pool:
        numbers = range(first, first + options.crops)
        for _ in pool.map(lambda n: crops.random_crop(images, config, n), numbers):
            pass
    return (
        options.crops / (time.perf_counter() - began),
        options.crops / (time.process_time() - used),
    )


if __name__ == "__main__":
    print("\n".join(main(parse())))
