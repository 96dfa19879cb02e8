"""Time and memory of commands per declared pixel: of photographs, and of the worst files.

    python benchmarks/limits.py [--sides 512 1024 2048] [--commands NAMES]

Every command is a process of its own. Its processor time and the most memory that it has had are
those that the system reports. From the smallest and the largest image come the bytes and the
seconds per pixel. The worst file to decode is noise at quality 100, finest level everywhere;
the worst small one claims an image that it has no data for.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rdonet_jax.codec import bitstream
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.models import zoo

RDONET = (sys.executable, "-m", "rdonet_jax")


class Cost(NamedTuple):
    """What a process took."""

    seconds: float  # of the processor
    memory: int  # bytes
    code: int


def cost(*arguments: str | Path) -> Cost:
    """Runs the command and waits for it."""
    process = subprocess.Popen(
        [*RDONET, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    return Cost(
        used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)
    )


def photograph(side: int) -> np.ndarray:
    """A square of a photograph that is repeated as often as needed."""
    import skimage.data

    tile = skimage.data.astronaut()
    count = -(-side // tile.shape[0])
    return np.tile(tile, (count, count, 1))[:side, :side]


def noise(side: int) -> np.ndarray:
    """Nothing that can be predicted."""
    return np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)


def prepare(folder: Path, side: int) -> None:
    """The files that the commands work on."""
    Image.fromarray(photograph(side)).save(folder / "photo.png")
    Image.fromarray(noise(side)).save(folder / "noise.png")
    np.save(folder / "fine.npy", np.zeros((-(-side // 16),) * 2, np.uint8))
    for name, options in {
        "photo": (), "noise": ("--quality", "100", "--mask", folder / "fine.npy"),
    }.items():  # fmt: skip
        done = cost("compress", folder / f"{name}.png", folder / f"{name}.rdo", *options)
        assert done.code == 0, name
    header, sections = bitstream.parse((folder / "photo.rdo").read_bytes())
    empty = sections._replace(level0=b"", level1=b"", level2=b"")
    header = dataclasses.replace(header, height=side, width=side)
    (folder / "empty.rdo").write_bytes(bitstream.pack(header, empty))


COMMANDS: dict[str, Callable[[Path], list[object]]] = {
    "info": lambda f: ["info", f / "photo.rdo"],
    "compress": lambda f: ["compress", f / "photo.png", f / "x.rdo", "--force"],
    "compress, a target": lambda f: [
        "compress", f / "photo.png", f / "x.rdo", "--force", "--target-bpp", "0.3",
    ],
    "decompress": lambda f: ["decompress", f / "photo.rdo", f / "x.png", "--force"],
    "decompress noise": lambda f: ["decompress", f / "noise.rdo", f / "x.png", "--force"],
    "decompress what is empty": lambda f: ["decompress", f / "empty.rdo", f / "x.png", "--force"],
    "decompress by JAX": lambda f: [
        "decompress", f / "photo.rdo", f / "x.png", "--force", "--engine", "jax",
    ],
    "compare": lambda f: ["compare", f / "photo.png", f / "photo.rdo"],
    "thumbnail": lambda f: ["thumbnail", f / "photo.rdo", f / "x.png"],
    "compress, effort 3": lambda f: [
        "compress", f / "photo.png", f / "x.rdo", "--force", "--effort", "3",
    ],
    "compress, effort 6": lambda f: [
        "compress", f / "photo.png", f / "x.rdo", "--force", "--effort", "6",
    ],
}  # fmt: skip


def measure(sides: list[int], names: list[str]) -> None:
    """Prints a row for every command."""
    found: dict[str, list[Cost]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as place:
        for side in sides:
            folder = Path(place) / str(side)
            folder.mkdir()
            prepare(folder, side)
            for name in names:
                found[name].append(cost(*COMMANDS[name](folder)))
    print(f"limit: {MAX_PIXELS} pixels; largest weights: {zoo.weights_file.MAX_FILE_BYTES} bytes")
    sizes = " | ".join(f"{side}x{side}" for side in sides)
    print(f"| command | {sizes} | per pixel, beyond the first size | exit code |")
    print("|---|" + "---|" * (len(sides) + 2))
    for name, costs in found.items():
        cells = [f"{c.seconds:.1f} s, {c.memory / 1e6:.0f} MB" for c in costs]
        pixels = sides[-1] ** 2 - sides[0] ** 2
        seconds = (costs[-1].seconds - costs[0].seconds) / pixels * 1e6
        memory = (costs[-1].memory - costs[0].memory) / pixels
        per = f"{seconds:.2f} µs, {memory:.0f} bytes" if pixels else ""
        print(f"| {name} | {' | '.join(cells)} | {per} | {costs[-1].code} |", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    measure(options.sides, options.commands)


if __name__ == "__main__":
    main()
