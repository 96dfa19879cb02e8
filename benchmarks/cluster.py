"""Many small images on a Ray cluster of two workers, one of which is killed in the middle.

    python benchmarks/cluster.py [--images 2000] [--side 128] [--rounds 1] [--model FILE]

Makes images in a temporary folder and compresses them three times: with `-j 2`, with `--ray local`,
and with `--ray local` while a worker is killed (SIGKILL) once a third of the files are there.
Then it counts: every image must have one whole file, the same as by `-j 2`, and one line of the
command. Given are seconds of the whole command, seconds from the first file to the last, and what a
file takes more than with `-j 2`. A last run finds everything there. Linux only; needs Ray.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

WAYS = {
    "-j 2": ["-j", "2"],
    "--ray local": ["-j", "2", "--ray", "local"],
    "--ray local, a worker killed": ["-j", "2", "--ray", "local"],
}
"""Names of the ways, and options of the command."""


class Run(NamedTuple):
    """What one command has done."""

    seconds: float
    span: float  # seconds from the first file to the last
    made: int  # by the summary
    there: int
    failed: int
    files: dict[str, bytes]
    hidden: int  # temporary files that are left
    killed: int  # workers


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=128, help="pixels of the longest side")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", type=os.path.abspath, help="weights file (default: standard)")
    return parser.parse_args(arguments)


def make_images(folder: Path, count: int, side: int) -> None:
    """Images of several sizes: smooth random fields with some noise."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        width, height = rng.integers(side // 2, side + 1, 2)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        noisy = smooth + rng.normal(0, 4, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.png")


def workers_of(process: int) -> list[int]:
    """The processes of Ray's workers below a process."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                name = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)], names[int(entry.name)] = int(fields[1]), name

    def is_below(one: int) -> bool:
        while one > 1 and one != process:
            one = parents.get(one, 0)
        return one == process

    return sorted(p for p, name in names.items() if b"MapWorker" in name and is_below(p))


def run(folder: Path, out: Path, options: Sequence[str], kill_at: int | None = None) -> Run:
    """Compresses the folder. With `kill_at`, kills a worker when so many files are there."""
    root = Path(__file__).parent.parent
    line = [sys.executable, "-m", "rdonet_jax", "compress", folder, "--out-dir", out, "--json"]
    began, killed = time.time(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*map(str, line), *options], stdout=said, cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        while process.poll() is None:
            time.sleep(0.2)
            if kill_at is not None and not killed and len(list(out.glob("*.rdo"))) >= kill_at:
                for worker in workers_of(process.pid)[:1]:
                    os.kill(worker, signal.SIGKILL)
                    killed += 1
        seconds = time.time() - began
        said.seek(0)
        summary = json.loads(said.read().splitlines()[-1])["summary"]
    paths = list(out.glob("*.rdo"))
    times = [path.stat().st_mtime for path in paths]
    hidden = sum(path.name.startswith(".") for path in out.iterdir())
    return Run(
        seconds, max(times) - min(times), summary["done"], summary["skipped"], summary["failed"],
        {path.name: path.read_bytes() for path in paths}, hidden, killed,
    )  # fmt: skip


def main(options: argparse.Namespace) -> None:
    model = ["--model", options.model] if options.model else []
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "images", Path(temporary) / "out"
        make_images(folder, options.images, options.side)
        expected = {path.name + ".rdo" for path in folder.iterdir()}
        runs: dict[str, list[Run]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, given in WAYS.items():
                shutil.rmtree(out, ignore_errors=True)
                kill_at = options.images // 3 if way.endswith("killed") else None
                runs[way].append(run(folder, out, [*given, *model], kill_at))
        again = run(folder, out, [*WAYS["--ray local"], *model])
    print(f"{options.images} images, sides of {options.side // 2} to {options.side}")
    print(f"{'':<30}{'s':>8}{'first to last':>15}{'more per file, ms':>19}"
          f"{'made':>7}{'there':>7}{'failed':>8}{'lost':>6}{'other':>7}{'hidden':>8}")  # fmt: skip
    reference = runs["-j 2"][0].files
    span = statistics.median(one.span for one in runs["-j 2"])
    for way, several in (*runs.items(), ("--ray local, all there", [again])):
        last = several[-1]
        seconds = statistics.median(one.seconds for one in several)
        taken = statistics.median(one.span for one in several)
        more = 1000 * (taken - span) / options.images if last.made else math.nan
        other = sum(last.files.get(name) != data for name, data in reference.items())
        print(f"{way:<30}{seconds:>8.1f}{taken:>15.1f}{more:>19.2f}"
              f"{last.made:>7}{last.there:>7}{last.failed:>8}{len(expected - last.files.keys()):>6}"
              f"{other:>7}{last.hidden:>8}")  # fmt: skip
    print(f"workers killed: {sum(one.killed for one in runs['--ray local, a worker killed'])}")


if __name__ == "__main__":
    main(parse())
