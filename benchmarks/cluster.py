"""Many small images on a Ray cluster of two workers, one of which is killed in the middle.

    python benchmarks/cluster.py [--images 2000] [--side 128] [--rounds 1] [--model FILE]

Makes images in a temporary folder and compresses them three times: with `-j 2`, with `--ray local`,
and with `--ray local` while a worker is killed (SIGKILL) once a third of the files are there.
Then it counts: every image must have one whole file, the same as by `-j 2`, and one line of the
command. Given are seconds of the whole command, by the clock and of processor time with all
processes of Ray, and what a file takes more than with `-j 2`: without the start, which a last run
that finds everything there shows by itself. Linux only; needs Ray.
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
    used: float  # seconds of processor time, as last seen of each process
    first_used: float  # those before the first file
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


class Process(NamedTuple):
    """A process of a command."""

    number: int
    is_worker: bool
    used: float  # seconds of processor time


def processes_of(root: int) -> list[Process]:
    """A process and all processes below it."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                is_worker = b"MapWorker" in (entry / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)] = int(fields[1])
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found.append(Process(int(entry.name), is_worker, used))

    def is_below(one: int) -> bool:
        while one > 1 and one != root:
            one = parents.get(one, 0)
        return one == root

    return sorted(process for process in found if is_below(process.number))


def run(folder: Path, out: Path, options: Sequence[str], kill_at: int | None = None) -> Run:
    """Compresses the folder. With `kill_at`, kills a worker when so many files are there."""
    root = Path(__file__).parent.parent
    line = [sys.executable, "-m", "rdonet_jax", "compress", folder, "--out-dir", out, "--json"]
    began, killed = time.time(), 0
    used: dict[int, float] = {}
    first_used = None
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*map(str, line), *options], stdout=said, cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        while process.poll() is None:
            time.sleep(0.3)
            processes = processes_of(process.pid)
            used.update((one.number, one.used) for one in processes)
            there = len(list(out.glob("*.rdo")))
            if first_used is None and there:
                first_used = sum(used.values())
            if kill_at is not None and not killed and there >= kill_at:
                for worker in [one for one in processes if one.is_worker][:1]:
                    os.kill(worker.number, signal.SIGKILL)
                    killed += 1
        seconds = time.time() - began
        said.seek(0)
        summary = json.loads(said.read().splitlines()[-1])["summary"]
    paths = list(out.glob("*.rdo"))
    hidden = sum(path.name.startswith(".") for path in out.iterdir())
    return Run(
        seconds, sum(used.values()), first_used or 0.0,
        summary["done"], summary["skipped"], summary["failed"],
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
    print(f"{'':<30}{'s':>8}{'CPU s':>8}{'before files':>14}{'more per file, CPU ms':>23}"
          f"{'made':>7}{'there':>7}{'failed':>8}{'lost':>6}{'other':>7}{'hidden':>8}")  # fmt: skip
    reference = runs["-j 2"][0].files
    least = statistics.median(one.used - one.first_used for one in runs["-j 2"])
    for way, several in (*runs.items(), ("--ray local, all there", [again])):
        last = several[-1]
        seconds = statistics.median(one.seconds for one in several)
        used = statistics.median(one.used for one in several)
        first = statistics.median(one.first_used for one in several)
        more = 1000 * (used - first - least) / options.images if last.made else math.nan
        other = sum(last.files.get(name) != data for name, data in reference.items())
        print(f"{way:<30}{seconds:>8.1f}{used:>8.1f}{first:>14.1f}{more:>23.2f}"
              f"{last.made:>7}{last.there:>7}{last.failed:>8}{len(expected - last.files.keys()):>6}"
              f"{other:>7}{last.hidden:>8}")  # fmt: skip
    print(f"workers killed: {sum(one.killed for one in runs['--ray local, a worker killed'])}")


if __name__ == "__main__":
    main(parse())
