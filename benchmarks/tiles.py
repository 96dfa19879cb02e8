"""Memory and time for images of 1 to 100 megapixels, and the time of the whole command.

    python benchmarks/tiles.py [--model NAME] [--image FILE] [--megapixels N ...]

Each size is coded several times in a separate process. Seconds per megapixel are those of the last
time, when everything is compiled. Memory is the largest resident set of the process, with Python,
JAX and the image. "Estimate" is that of `rdonet_jax.codec.memory` for the coding alone. The images
are FILE, or a photograph of scikit-image, repeated and cropped, at quality 50 with the variance
mask, or with the finest level everywhere (`--finest`), which takes the most memory.

The command is run on a 768x512 image with an empty cache of compiled code, then again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rdonet_jax.codec import codec, memory
from rdonet_jax.core import partition
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo

COMMAND_IMAGE = (512, 768)


def image_of(megapixels: float, source: np.ndarray) -> np.ndarray:
    """The source repeated to about so many pixels, with an aspect ratio of 3:2."""
    height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
    return cropped(source, height, round(megapixels * 1e6 / height))


def cropped(source: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = np.arange(height) % source.shape[0], np.arange(width) % source.shape[1]
    return source[rows][:, columns]


def source_of(path: Path | None) -> np.ndarray:
    if path is not None:
        return srgb.load(path)
    import skimage.data

    return skimage.data.astronaut()


def clocks() -> np.ndarray:
    """Wall-clock time, and processor time of this process, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measures one size in this process."""
    (megapixels,) = options.megapixels
    image = image_of(megapixels, source_of(options.image))
    model = zoo.load(options.model)
    seconds = {}
    for _ in range(options.repeats):
        start = clocks()
        p = codec.choose_partition(model, image, "uniform-16" if options.finest else "variance")
        data = codec.compress(model, image, p)
        middle = clocks()
        codec.decompress(model, data)
        end = clocks()
        seconds = {"encode": (middle - start).tolist(), "decode": (end - middle).tolist()}
    grid = partition.block_grid(*image.shape[:2])
    return {
        **seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "estimate": memory.working_set_bytes(model.config, grid) / 2**30,
        "bpp": 8 * len(data) / megapixels / 1e6,
    }


def in_another_process(options: argparse.Namespace, megapixels: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--here", "--model", options.model]
    command += ["--megapixels", str(megapixels), "--repeats", str(options.repeats)]
    command += ["--image", str(options.image)] if options.image else []
    command += ["--finest"] if options.finest else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def command_seconds(options: argparse.Namespace) -> list[tuple[float, float]]:
    """Wall-clock and processor seconds of consecutive runs of the command."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "picture.png"
        srgb.save(source, cropped(source_of(options.image), *COMMAND_IMAGE), True)
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-m", "rdonet_jax", "compress", "--force", "--quiet"]
        command += ["--model", options.model, source]
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            subprocess.run(command, check=True, env=environment)
            clock = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found.append((clock, busy))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="standard")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--megapixels", type=float, nargs="*", default=[1, 4, 16, 50, 100])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--finest", action="store_true", help="all coded at the finest level")
    parser.add_argument("--no-command", action="store_true", help="leave the command out")
    parser.add_argument("--here", action="store_true", help="one size, in this process, as JSON")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measured(options)))
        return
    print("seconds per megapixel on the clock / of CPUs")
    print(f"{'MP':>5}{'encode':>15}{'decode':>15}{'peak':>12}{'estimate':>12}{'bpp':>7}")
    for megapixels in options.megapixels:
        found = in_another_process(options, megapixels)
        times = (
            " / ".join(f"{seconds / megapixels:.3f}" for seconds in found[name])
            for name in ("encode", "decode")
        )
        print(
            f"{megapixels:>5g}{''.join(f'{part:>15}' for part in times)}"
            f"{found['peak']:>8.2f} GiB{found['estimate']:>8.2f} GiB{found['bpp']:>7.3f}",
            flush=True,
        )
    if not options.no_command:
        for number, (clock, busy) in enumerate(command_seconds(options), 1):
            print(f"command, process {number}: {clock:.1f} s on the clock, {busy:.1f} s of CPUs")


if __name__ == "__main__":
    main()
