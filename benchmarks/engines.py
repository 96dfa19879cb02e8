"""Times of the two engines of portable models: whole commands, and seconds per megapixel.

    python benchmarks/engines.py photographs/kodak/kodim15.png --out engines.json

Larger images are tiled from the image. Prints medians; each pair is measured in turn, in one run.
Commands are measured with the most memory that the process held, and with an empty cache folder, as
on the first day. Those of AVIF and JPEG XL are measured beside them where they are installed.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.codec.portable.engines import ENGINES
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo

# As users have it: modules are compiled to bytecode once.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each, all measured in turn after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            took = seconds(work)
            if number:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}


def run(arguments: Sequence[object], **variables: str) -> int:
    """Runs a process and returns the most memory that it held, in MiB."""
    process = subprocess.Popen(
        [str(a) for a in arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**ENVIRONMENT, **variables},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments[0]} failed: {' '.join(map(str, arguments))}")
    return usage.ru_maxrss // 2**10


def other_commands(image: Path, folder: Path) -> dict[str, list[object]]:
    """Commands of other codecs that are installed, at speeds with which they are used."""
    avif, jxl, back = folder / "a.avif", folder / "a.jxl", folder / "a.png"
    found: dict[str, list[object]] = {}
    if shutil.which("avifenc") and shutil.which("avifdec"):
        found["avifenc -s 6"] = ["avifenc", "-s", 6, image, avif]
        found["avifdec"] = ["avifdec", avif, back]
    if shutil.which("cjxl") and shutil.which("djxl"):
        found["cjxl"] = ["cjxl", image, jxl]
        found["djxl"] = ["djxl", jxl, back]
    return found


def commands(image: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Whole processes, from the start to the exit: seconds, and MiB of memory."""
    rdonet = [sys.executable, "-m", "rdonet_jax"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines: dict[str, list[object]] = {}
        for engine in ENGINES:
            file, back = folder / f"{engine}.rdo", folder / f"{engine}.png"
            options = ["--engine", engine, "--force"]
            lines[f"compress, {engine}"] = [*rdonet, "compress", image, file, *options]
            lines[f"decompress, {engine}"] = [*rdonet, "decompress", file, back, *options]
        lines |= other_commands(image, folder)
        memory = {name: run(line) for name, line in lines.items()}
        works = {name: functools.partial(run, line) for name, line in lines.items()}
        found = medians(works, rounds)
        results = {n: {"seconds": found[n], "memory": memory[n]} for n in lines}
        for number, name in enumerate(name for name in lines if "press" in name):
            cache = str(folder / f"cache-{number}")
            first = seconds(functools.partial(run, lines[name], XDG_CACHE_HOME=cache))
            results[name]["first"] = first
        return results


def per_megapixel(image: np.ndarray, megapixels: float, rounds: int) -> dict[str, float]:
    """Seconds per megapixel of coding alone, for an image of about this size."""
    height, width = image.shape[:2]
    factor = max(1, round((megapixels * 1e6 / (height * width)) ** 0.5))
    large = np.tile(image, (factor, factor, 1))
    model = zoo.load("standard")
    p = codec.choose_partition(model, large, "variance")
    data = codec.compress(model, large, p)
    works: dict[str, Callable[[], object]] = {}
    for engine in ENGINES:
        works[f"encode, {engine}"] = lambda e=engine: codec.encode(
            model, large, p, reconstruct=False, engine=e
        )
        works[f"decode, {engine}"] = lambda e=engine: codec.decode(model, data, engine=e)
    size = large.shape[0] * large.shape[1] / 1e6
    found = medians(works, rounds)
    return {"megapixels": size, **{name: value / size for name, value in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=10, help="of whole commands")
    parser.add_argument("--megapixels", type=float, nargs="*", default=[0.4, 4, 24])
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    options = parser.parse_args()
    results: dict[str, object] = {"commands": commands(options.image, options.rounds)}
    for name, found in results["commands"].items():
        first = f", {found['first']:.2f} s with an empty cache" if "first" in found else ""
        print(f"{name:<20} {found['seconds']:6.2f} s, {found['memory']} MiB{first}")
    image = srgb.load(options.image)
    results["coding"] = []
    for megapixels in options.megapixels:
        found = per_megapixel(image, megapixels, 3 if megapixels < 10 else 1)
        results["coding"].append(found)
        times = [f"{name} {value:.3f}" for name, value in found.items() if name != "megapixels"]
        print(f"{found['megapixels']:.1f} megapixels, seconds per megapixel: {', '.join(times)}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
