"""Training speed with batches in memory and with the input pipeline, and that of CompressAI.

    python benchmarks/training.py [--data FOLDER ...] [--presets NAME ...] [--compressai] [--limits]

The steps are those of training, on batches of 256x256 crops of the photographs below FOLDER, or of
some of scikit-image. They use the same few batches in memory, or batches that the input pipeline
reads, reduces and crops meanwhile. `--uncached` adds the pipeline that decodes a file for every
crop, as it does with more images than fit in memory.

`--compressai` adds training steps of CompressAI's mbt2018_mean of quality 3 on the CPU, with one
thread per CPU. CompressAI is installed in a separate environment, which is made with pip on first
use. Settings of pip (PIP_INDEX_URL, PIP_FIND_LINKS) choose where PyTorch comes from.

All take turns, so that other work on the machine affects them equally. Medians are over rounds.
GMAC/s are multiply-accumulates as the layers are defined, three times those of the forward pass.

With an accelerator, or with `--limits`, a second part compares the steps with the limits of the
device, see `training_limits.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import training_limits
from environments import COMPRESSAI, default_folder, install
from PIL import Image
from training_steps import Trainer

from rdonet_jax.core import presets
from rdonet_jax.imaging import dataset
from rdonet_jax.models import macs
from rdonet_jax.runtime import processors
from rdonet_jax.training import config as training_config
from rdonet_jax.training.batches import crops as training_crops

WORKER = Path(__file__).with_name("training_compressai.py")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
IN_MEMORY = 4
"""Number of batches in memory, which are used in turn."""


@dataclasses.dataclass
class Contestant:
    """A contestant, which runs training steps in turns.

    Attributes:
      name, source: of the network and of its batches.
      macs: per pixel.
      seconds: of one step, for every round.
    """

    name: str
    source: str
    macs: float
    trainer: Any
    steps: int = 1
    seconds: list[float] = dataclasses.field(default_factory=list)

    def choose_steps(self, turn_seconds: float) -> None:
        """The number of steps that fit in a turn, at least two."""
        self.trainer.run(1)
        self.steps = max(2, round(turn_seconds / self.trainer.run(1)))

    def take_turn(self) -> None:
        self.seconds.append(self.trainer.run(self.steps) / self.steps)


@dataclasses.dataclass
class Ours:
    """The contestant that trains a network of this package on batches from an iterator."""

    trainer: Trainer
    batches: Iterator[training_crops.Batch]

    def run(self, count: int) -> float:
        return self.trainer.run(self.batches, count)


class CompressAI:
    """The contestant CompressAI, a process in its own environment."""

    def __init__(self, environment: Path, crops: Path, batch_size: int) -> None:
        command = [
            environment / "bin" / "python",
            "-W",
            "ignore",
            WORKER,
            crops,
            str(batch_size),
            str(processors.usable()),
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = json.loads(self._answer())

    def _answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{WORKER} has ended with {self.process.wait()}")
        return line

    def run(self, count: int) -> float:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def contestant(self) -> Contestant:
        print(f"beside CompressAI: {self.about['versions']}, {self.about['threads']} threads")
        return Contestant("mbt2018_mean", "in memory", self.about["macs_per_pixel"], self)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def write_photographs(folder: Path) -> None:
    """Writes some photographs of scikit-image as files."""
    import skimage.data

    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")


def crops_in_memory(
    seen: dataset.ImageDataset, schedule: training_config.TrainingConfig
) -> list[training_crops.Batch]:
    numbers = np.arange(schedule.batch_size, dtype=np.int32)
    crops = [
        training_crops.random_crop(seen, schedule, index)
        for index in range(IN_MEMORY * schedule.batch_size)
    ]
    return [training_crops.Batch(numbers, part) for part in np.split(np.stack(crops), IN_MEMORY)]


def our_contestants(
    names: Sequence[str],
    schedule: training_config.TrainingConfig,
    seen: dataset.ImageDataset,
    kept: Sequence[training_crops.Batch],
    uncached: bool,
) -> list[Contestant]:
    """Contestants for every preset: batches in memory, the pipeline, one without a cache."""
    contestants = []
    for preset in names:
        network_config = presets.preset(preset)
        trainer = Trainer(network_config, schedule)
        sources = {
            "in memory": itertools.cycle(kept),
            f"of {len(seen.paths)} images": training_crops.batches(seen, schedule),
        }
        if uncached:
            bare = dataset.usable(seen.paths, schedule.crop, cache_bytes=0)
            sources["decoded every time"] = training_crops.batches(bare, schedule)
        count = sum(macs.per_pixel(network_config).values())
        contestants += [
            Contestant(preset, source, count, Ours(trainer, batches))
            for source, batches in sources.items()
        ]
    return contestants


def compare(contestants: Sequence[Contestant], rounds: int, turn_seconds: float) -> None:
    """Runs all contestants in turns, round by round."""
    for contestant in contestants:
        contestant.choose_steps(turn_seconds)
    for _ in range(rounds):
        for contestant in contestants:
            contestant.take_turn()


def ratio(one: Contestant, other: Contestant) -> float:
    """Median over the rounds of the ratio of the times of a step."""
    return statistics.median(a / b for a, b in zip(one.seconds, other.seconds, strict=True))


def report(contestants: Sequence[Contestant], schedule: training_config.TrainingConfig) -> None:
    """Prints the table and conclusions."""
    batch, side = schedule.batch_size, schedule.crop
    title = f"{'network':<14}{'batches':<24}{'steps':>7}{'s/step':>10}{'crops/s':>10}"
    print(f"{title}{'kMAC/px':>10}{'GMAC/s':>9}")
    for one in contestants:
        seconds = statistics.median(one.seconds)
        steps = f"{len(one.seconds)}x{one.steps}"
        rate = 3 * one.macs * batch * side**2 / seconds / 1e9
        print(
            f"{one.name:<14}{one.source:<24}{steps:>7}{seconds:>10.3f}{batch / seconds:>10.2f}"
            f"{one.macs / 1e3:>10.1f}{rate:>9.1f}"
        )
    print()
    first = {}
    for one in contestants:
        base = first.setdefault(one.name, one)
        if base is not one:
            print(f"{one.name}: {one.source}: costs {100 * (ratio(one, base) - 1):+.1f} %")
    theirs = [one for one in contestants if isinstance(one.trainer, CompressAI)]
    for one in first.values():
        for other in theirs:
            if one is not other:
                times = ratio(other, one)
                print(
                    f"{one.name} against {other.name}: {times:.2f} times the crops per second, "
                    f"{times * one.macs / other.macs:.2f} times the multiply-accumulates"
                )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, help="folders of photographs")
    parser.add_argument("--presets", nargs="+", default=["small", "paper"],
                        choices=list(presets.PRESETS))  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--precision", default="auto", choices=training_config.CHOICES["precision"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=10, help="seconds of a turn")
    parser.add_argument("--uncached", action="store_true", help="also decode at every crop")
    parser.add_argument("--compressai", action="store_true", help="also train mbt2018_mean")
    parser.add_argument(
        "--environment", type=Path, default=default_folder(COMPRESSAI), help="of CompressAI"
    )
    parser.add_argument("--limits", action="store_true", help="compare with what the device can do")
    parser.add_argument("--limits-batches", nargs="+", type=int, default=[8, 16, 32, 64])
    return parser.parse_args()


def main() -> None:
    options = arguments()
    schedule = training_config.TrainingConfig(
        batch_size=options.batch_size,
        crop=options.crop,
        precision=options.precision,
        stage1_steps=10**6,
        stage2_steps=0,
    )
    if options.compressai:
        install(options.environment, COMPRESSAI)
    print(
        f"jax {jax.__version__} on {jax.local_devices()}, {processors.usable()} CPUs, "
        f"batches of {schedule.batch_size} crops of {schedule.crop}x{schedule.crop}",
        flush=True,
    )
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not options.data:
            write_photographs(temporary)
        seen = dataset.usable(dataset.find(options.data or [temporary]), schedule.crop)
        for index in range(len(seen.paths)):
            seen.image(index)  # decoded beforehand, as a run does it once
        kept = crops_in_memory(seen, schedule)
        contestants = our_contestants(options.presets, schedule, seen, kept, options.uncached)
        if options.compressai:
            crops = temporary / "crops.npy"
            np.save(crops, np.concatenate([batch.crops for batch in kept]))
            theirs = CompressAI(options.environment, crops, schedule.batch_size)
            stack.callback(theirs.close)
            contestants.append(theirs.contestant())
        compare(contestants, options.rounds, options.turn)
        report(contestants, schedule)
        if options.limits or jax.default_backend() != "cpu":
            training_limits.report(options.presets, options.limits_batches, seen, schedule)


if __name__ == "__main__":
    main()
