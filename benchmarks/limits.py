"""Time and memory of commands per declared pixel: of photographs, and of the worst files.

    python benchmarks/limits.py [--sides 512 1024 2048] [--commands NAMES]

Every command is a process of its own. Its processor time and the most memory that it has had are
those that the system reports. From the smallest and the largest image come the bytes and the
seconds per pixel. The worst file to decode is noise at quality 100, finest level everywhere;
the worst small one claims an image that it has no data for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rdonet_jax.core.defaults import MAX_PIXELS

RDONET = (sys.executable, "-m", "rdonet_jax")


class Cost(NamedTuple):
    """What a process took."""

    seconds: float  # of the processor
    memory: int  # bytes
    code: int


def cost(*arguments: str | Path) -> Cost:
    """Runs the command and waits for it.

    The system counts the memory of the process that starts it as well, so this one loads nothing.
    """
    process = subprocess.Popen(
        [*RDONET, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    return Cost(
        used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)
    )


PREPARE = """
import dataclasses, sys
from pathlib import Path
import numpy as np, skimage.data
from PIL import Image
from rdonet_jax.cli import main
from rdonet_jax.codec import bitstream

folder, side = Path(sys.argv[1]), int(sys.argv[2])
tile = skimage.data.astronaut()
count = -(-side // tile.shape[0])
Image.fromarray(np.tile(tile, (count, count, 1))[:side, :side]).save(folder / "photo.png")
noise = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
Image.fromarray(noise).save(folder / "noise.png")
np.save(folder / "fine.npy", np.zeros((-(-side // 16),) * 2, np.uint8))
fine = ["--quality", "100", "--mask", str(folder / "fine.npy")]
for name, options in (("photo", []), ("noise", fine)):
    paths = [str(folder / f"{name}{suffix}") for suffix in (".png", ".rdo")]
    assert main.main(["compress", *paths, *options]) == 0
header, sections = bitstream.parse((folder / "photo.rdo").read_bytes())
empty = sections._replace(level0=b"", level1=b"", level2=b"")
(folder / "empty.rdo").write_bytes(bitstream.pack(header, empty))
"""
"""Makes the files that the commands work on: the photograph is repeated as often as needed."""


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
            subprocess.run([sys.executable, "-c", PREPARE, folder, str(side)], check=True)
            for name in names:
                found[name].append(cost(*COMMANDS[name](folder)))
    print(f"limit: {MAX_PIXELS} pixels")
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
