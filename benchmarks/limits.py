"""Time and memory of commands per declared pixel: of photographs, and of the worst files.

    python benchmarks/limits.py [--sides 512 1024 2048] [--commands NAMES] [--seconds N]

Every command is a process of its own. Its processor time and the most memory that it has had are
those that the system reports. From the smallest and the largest image come the bytes and the
seconds per pixel. The worst file to decode is noise at quality 100, finest level everywhere;
the worst small one claims an image that it has no data for.

With `--seconds`, Ctrl-C is sent to a command after so many seconds by the clock. A search or a
refinement then ends with the best file so far. Such a cell has a plus: the time and the memory are
those until then.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeGuard

from rdonet_jax.core.defaults import MAX_PIXELS

RDONET = (sys.executable, "-m", "rdonet_jax")


class Cost(NamedTuple):
    """What a process took."""

    seconds: float  # of the processor
    memory: int  # bytes
    code: int
    interrupted: bool = False

    def __str__(self) -> str:
        mark = "+" if self.interrupted else ""
        return f"{self.seconds:.1f}{mark} s, {self.memory / 1e6:.0f} MB"


def cost(*arguments: object, limit: float | None = None) -> Cost:
    """Runs the command and waits for it; after `limit` seconds it gets a Ctrl-C.

    The system counts the memory of the process that starts it as well, so this one loads nothing.
    """
    # A background job of a shell ignores Ctrl-C, and so would the command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*RDONET, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    sent = threading.Event()

    def interrupt() -> None:
        sent.set()
        process.send_signal(signal.SIGINT)

    timer = threading.Timer(limit, interrupt) if limit else None
    if timer:
        timer.start()
    _, status, used = os.wait4(process.pid, 0)
    if timer:
        timer.cancel()
    code = os.waitstatus_to_exitcode(status)
    seconds = used.ru_utime + used.ru_stime
    return Cost(seconds, used.ru_maxrss * 1024, code, sent.is_set())


PREPARE = """
import dataclasses, sys
from pathlib import Path
import numpy as np, skimage.data
from PIL import Image
from rdonet_jax.cli import main
from rdonet_jax.codec import bitstream

folder, side, needed = Path(sys.argv[1]), int(sys.argv[2]), set(sys.argv[3:])
if "empty.rdo" in needed:
    needed.add("photo.rdo")
tile = skimage.data.astronaut()
count = -(-side // tile.shape[0])
Image.fromarray(np.tile(tile, (count, count, 1))[:side, :side]).save(folder / "photo.png")
noise = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
Image.fromarray(noise).save(folder / "noise.png")
np.save(folder / "fine.npy", np.zeros((4 * -(-side // 64),) * 2, np.uint8))
fine = ["--quality", "100", "--mask", str(folder / "fine.npy")]
for name, options in (("photo", []), ("noise", fine)):
    paths = [str(folder / f"{name}{suffix}") for suffix in (".png", ".rdo")]
    if f"{name}.rdo" in needed:
        assert main.main(["compress", *paths, *options]) == 0
if "empty.rdo" in needed:
    header, sections = bitstream.parse((folder / "photo.rdo").read_bytes())
    empty = sections._replace(level0=b"", level1=b"", level2=b"")
    (folder / "empty.rdo").write_bytes(bitstream.pack(header, empty))
"""
"""Makes the files that commands need: the photograph is repeated as often as it fits."""


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
    "thumbnail": lambda f: ["thumbnail", f / "photo.rdo", f / "x.png", "--force"],
}  # fmt: skip


def at_effort(level: int) -> Callable[[Path], list[object]]:
    """The command that compresses with a search and a refinement of a level of effort."""
    return lambda f: [*COMMANDS["compress"](f), "--effort", level]


# Its memory does not depend on how many iterations there are.
COMMANDS["compress, one iteration"] = lambda f: [*COMMANDS["compress"](f), "--refine", "1"]
COMMANDS |= {f"compress, effort {level}": at_effort(level) for level in (3, 5, 6, 9)}


def is_path(argument: object) -> TypeGuard[Path]:
    """Whether an argument of a command is a file."""
    return isinstance(argument, Path)


def measure(sides: list[int], names: list[str], limit: float | None) -> None:
    """Prints a row for every command."""
    found: dict[str, list[Cost]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as place:
        for side in sides:
            folder = Path(place) / str(side)
            folder.mkdir()
            lines = {name: COMMANDS[name](folder) for name in names}
            needed = {part.name for line in lines.values() for part in line if is_path(part)}
            subprocess.run([sys.executable, "-c", PREPARE, folder, str(side), *needed], check=True)
            for name, line in lines.items():
                found[name].append(cost(*line, limit=limit))
    print(f"limit: {MAX_PIXELS} pixels")
    sizes = " | ".join(f"{side}x{side}" for side in sides)
    print(f"| command | {sizes} | per pixel, beyond the first size | exit code |")
    print("|---|" + "---|" * (len(sides) + 2))
    for name, costs in found.items():
        per = _per_pixel(sides, costs) if sides[0] < sides[-1] else ""
        print(f"| {name} | {' | '.join(map(str, costs))} | {per} | {costs[-1].code} |", flush=True)


def _per_pixel(sides: list[int], costs: list[Cost]) -> str:
    pixels = sides[-1] ** 2 - sides[0] ** 2
    seconds = (costs[-1].seconds - costs[0].seconds) / pixels * 1e6
    return f"{seconds:.2f} µs, {(costs[-1].memory - costs[0].memory) / pixels:.0f} bytes"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--seconds", type=float, help="after which commands are interrupted")
    options = parser.parse_args()
    measure(options.sides, options.commands, options.seconds)


if __name__ == "__main__":
    main()
