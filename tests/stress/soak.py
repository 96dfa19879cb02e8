"""One process that runs long: images of changing sizes and forms, encoded and decoded.

    python -m tests.stress.soak [--count 5000] [--engine numpy] [--threads 4]
    python -m tests.stress.soak --count 200 --workers fork

By the functions for Python and by the Pillow plug-in in turn. Memory, open files and threads are
noted after every twentieth of the work. From a quarter on, when all sizes have been there, memory
must stay within 5 % and the other two as they were. With `--workers`, processes that are forked or
spawned from one that has coded images already do the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import rdonet_jax
import rdonet_jax.pillow_plugin
from rdonet_jax.core.defaults import DEFAULT_MODEL
from tests.fuzzing import subjects

PARTS = 20
SETTLED = 5
"""The part after which nothing may grow."""

MOST_GROWTH = 1.05

MODES = ("L", "LA", "RGB", "RGBA")

LARGEST_SIDE = 160
"""Of an image; the smallest is 1."""

DEFAULT_EVERY = 10
"""Every so many images is coded with the default model, the others with a small one."""


class Usage(NamedTuple):
    """What a process has at a time."""

    memory: int  # bytes that are resident
    files: int
    threads: int


def usage() -> Usage:
    """Of this process, as Linux tells it."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Usage(resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))


def image(number: int) -> np.ndarray:
    """Image `number`: of any size, gray or color, of 8 or 16 bits, with alpha or not."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(1, LARGEST_SIDE, 2)
    channels = int(rng.integers(1, 5))
    smooth = np.add.outer(np.arange(height), np.arange(width))[..., None] + 30 * np.arange(channels)
    values = (smooth + rng.integers(0, 20, (height, width, channels))) % 256
    pixels = values.astype(np.uint8)
    pixels = pixels[..., 0] if channels == 1 else pixels
    return pixels if rng.random() < 0.7 else pixels.astype(np.uint16) * 257


def model_of(number: int) -> str:
    """The weights for an image."""
    return str(subjects.mini_weights()) if number % DEFAULT_EVERY else DEFAULT_MODEL


def by_functions(number: int, engine: str) -> None:
    """Encodes and decodes an image with the functions for Python."""
    pixels, model = image(number), model_of(number)
    quality = float(number * 7 % 101)
    data = rdonet_jax.compress(pixels, quality, model=model, engine=engine)
    restored = rdonet_jax.decompress(data, model=model, engine=engine)
    alpha = pixels.ndim == 3 and pixels.shape[2] in (2, 4)
    opaque = alpha and pixels[..., -1].min() == np.iinfo(pixels.dtype).max
    expected = pixels[..., :-1].squeeze() if opaque else pixels
    assert (restored.dtype, restored.shape[:2]) == (pixels.dtype, pixels.shape[:2])
    if alpha and not opaque:
        np.testing.assert_array_equal(restored[..., -1], expected[..., -1])


def by_plug_in(number: int, engine: str, folder: Path) -> None:
    """Saves and opens an image with Pillow, by name and in memory in turn."""
    pixels = image(number)
    pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    source = Image.fromarray(pixels)
    assert source.mode in MODES
    # The plug-in opens files of bundled models alone.
    name = folder / f"{threading.get_ident()}.rdo"
    target = name if number % 4 < 2 else io.BytesIO()
    source.save(target, "RDO", quality=number % 101, engine=engine)
    if target is not name:
        target.seek(0)
    with Image.open(target) as restored:
        restored.load()
        assert restored.size == source.size


def code(number: int, engine: str, folder: Path) -> None:
    """Does what stands for a number: mostly functions, sometimes the plug-in."""
    if number % DEFAULT_EVERY == 5:
        by_plug_in(number, engine, folder)
    else:
        by_functions(number, engine)


def soaked(count: int, engine: str, threads: int) -> Iterator[Usage]:
    """Codes so many images; what the process has after each of the parts."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        bounds = np.linspace(0, count, PARTS + 1).astype(int)
        for first, last in itertools.pairwise(bounds):
            if threads == 1:
                for number in range(first, last):
                    code(number, engine, Path(folder))
            else:
                list(pool.map(lambda n: code(n, engine, Path(folder)), range(first, last)))
            yield usage()


def complaints(found: Sequence[Usage]) -> list[str]:
    """What has grown since the process settled, in words."""
    rest = found[SETTLED:]
    half = len(rest) // 2
    before, after = (
        statistics.median(u.memory for u in part) for part in (rest[:half], rest[half:])
    )
    grown = []
    if after > MOST_GROWTH * before:
        grown.append(f"memory: {before / 2**20:.0f} to {after / 2**20:.0f} MiB")
    for name in ("files", "threads"):
        first, last = getattr(rest[0], name), getattr(rest[-1], name)
        if last > first:
            grown.append(f"{name}: {first} to {last}")
    return grown


def _in_worker(arguments: tuple[int, str, str]) -> int:
    number, engine, folder = arguments
    code(number, engine, Path(folder))
    return usage().files


def in_workers(count: int, engine: str, method: str, workers: int = 2) -> tuple[int, int]:
    """Codes images in processes; the fewest and the most files that one had open."""
    by_functions(1, engine)  # so that the parent has state that its children could inherit
    context = multiprocessing.get_context(method)
    with tempfile.TemporaryDirectory() as folder, context.Pool(workers) as pool:
        work = [(number, engine, folder) for number in range(count)]
        opened = pool.map(_in_worker, work, chunksize=1)
    return min(opened), max(opened)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--engine", choices=("numpy", "jax"), default="numpy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", choices=("fork", "spawn"))
    options = parser.parse_args()
    began = time.monotonic()
    if options.workers:
        fewest, most = in_workers(options.count, options.engine, options.workers)
        print(f"{options.count} images in processes by {options.workers}: {fewest} to {most} files")
        raise SystemExit(most > fewest + 2)
    found = []
    with contextlib.suppress(KeyboardInterrupt):
        for now in soaked(options.count, options.engine, options.threads):
            found.append(now)
            done, seconds = len(found) * options.count // PARTS, time.monotonic() - began
            memory = f"{now.memory / 2**20:.0f} MiB"
            print(f"{done:>6} images, {seconds:.0f} s: {memory}, {now.files} files, "
                  f"{now.threads} threads", flush=True)  # fmt: skip
    wrong = complaints(found) if len(found) > SETTLED + 1 else ["interrupted too early"]
    print("; ".join(wrong) or "nothing has grown")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
