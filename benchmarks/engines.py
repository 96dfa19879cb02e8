"""Times of the two engines of portable models: whole commands, and seconds per megapixel.

    python benchmarks/engines.py photographs/kodak/kodim15.png --out engines.json

Larger images are tiled from the image. Prints medians; each pair is measured in turn, in one run.
Where `avifenc` and `avifdec` are installed, they are measured beside the commands.
"""

from __future__ import annotations

import argparse
import json
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


def run(arguments: Sequence[object]) -> None:
    subprocess.run([str(a) for a in arguments], check=True, capture_output=True)


def commands(image: Path, rounds: int) -> dict[str, float]:
    """Whole processes, from the start to the exit."""
    rdonet = [sys.executable, "-m", "rdonet_jax"]
    works: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for engine in ENGINES:
            file, back = folder / f"{engine}.rdo", folder / f"{engine}.png"
            options = ["--engine", engine, "--force"]
            works[f"compress, {engine}"] = lambda f=file, o=options: run(
                [*rdonet, "compress", image, f, *o]
            )
            works[f"decompress, {engine}"] = lambda f=file, b=back, o=options: run(
                [*rdonet, "decompress", f, b, *o]
            )
        if shutil.which("avifenc") and shutil.which("avifdec"):
            file, back = folder / "a.avif", folder / "a.png"
            works["avifenc"] = lambda: run(["avifenc", "-s", 6, image, file])
            works["avifdec"] = lambda: run(["avifdec", file, back])
        return medians(works, rounds)


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
    for name, value in results["commands"].items():
        print(f"{name:<20} {value:6.2f} s")
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
