"""How well targets of the encoder are met, and in how many trials.

    python benchmarks/targets.py FOLDER [--images N] [--targets bpp:0.25 psnr:32 ms_ssim:0.97]
        [--model NAME] [-o FILE]

A target is a size in bits per pixel, or a metric by its name (`rdonet_jax.rdo.targets`), with its
value. Every image of the folder is coded for every target, and so are some images that are made
here: flat, black, tiny ones. A target is hit if the decoded file is at least as good, or no
larger, and either within the tolerance or such that the next quality would miss. A refusal is right
if neither the best nor the smallest file meets the target. The distance is what a file is better
than it has to be, in percent of a size and in the unit of a metric. Seconds are on whatever else
the machine does, and hold the compilation of what is compiled.

With `-o` every image is a line of FILE, and those that the file has are not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.image_quality import quality_of
from rdonet_jax.codec.qualities import stream_quality
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, rate_control, target_trials, targets
from rdonet_jax.rdo.encode_options import EncodeOptions, Target

SIZE = "bpp"
TARGETS = ("bpp:0.25", "psnr:32", "ms_ssim:0.97")


class Outcome(NamedTuple):
    """What became of one image and one target."""

    trials: int
    seconds: float
    said: str  # why it was refused; empty for a file
    right: bool  # the target is hit, or the refusal is right
    distance: float  # how much better than it has to be
    quality: float


def made_images() -> dict[str, np.ndarray]:
    """Images on which values hardly rise with the quality, or that some metrics do not take."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 64)[None, :, None].repeat(48, 0).repeat(3, 2)
    return {
        "gray 256x256": np.full((256, 256, 3), 127, np.uint8),
        "black 200x300": np.zeros((200, 300, 3), np.uint8),
        "one pixel": np.full((1, 1, 3), (200, 30, 90), np.uint8),
        "noise 16x16": rng.integers(0, 256, (16, 16, 3)).astype(np.uint8),
        "gradient 64x48": ramp.astype(np.uint8),
    }


@contextlib.contextmanager
def counted() -> Iterator[list[None]]:
    """Within it, the list grows by one with every file that is made."""
    made: list[None] = []
    encode = encoder.encode

    def counting(*arguments: Any, **named: Any) -> Any:
        made.append(None)
        return encode(*arguments, **named)

    with mock.patch.object(encoder, "encode", counting):
        yield made


class ImageTarget:
    """One image and a target, and what a file is worth for it."""

    def __init__(self, model: Model, pixels: np.ndarray, name: str, value: float) -> None:
        self.model, self.image = model, preparation.prepare(model.config, pixels)
        self.name, self.value = name, value
        self.pixels = pixels.shape[0] * pixels.shape[1]

    def target(self) -> Target:
        if self.name != SIZE:
            return Target(**{self.name: self.value})
        return Target(size=max(1, int(self.value * self.pixels / 8)))

    def met_by(self, data: bytes) -> tuple[bool, bool, float]:
        """Whether the file meets the target, whether it does within the tolerance, the distance."""
        if self.name == SIZE:
            size = self.target().value
            share = 1 - len(data) / size
            return len(data) <= size, share <= target_trials.TOLERANCE, 100 * share
        metric = targets.TARGET_METRICS[self.name]
        found = metric.measure(self.image, codec.decode(self.model, data).image)
        better = metric.to_scale(found) - metric.to_scale(self.value)
        sign = 1 if metric.higher_is_better else -1
        return better >= 0, better <= metric.tolerance, sign * (found - self.value)

    def at(self, number: int) -> bytes:
        """The plain file at a quality on the model's scale."""
        quality = quality_of(self.model.config, number)
        return encoder.encode(self.model, self.image, EncodeOptions(quality)).encoded.data


def outcome(goal: ImageTarget) -> Outcome:
    """Codes for the target and judges the result by the decoded file."""
    most = goal.model.config.steps_of_quality
    began = time.perf_counter()
    with counted() as made:
        try:
            result = rate_control.encode(
                goal.model, goal.image, EncodeOptions(target=goal.target())
            )
        except targets.TargetError as error:
            seconds = time.perf_counter() - began
            return Outcome(len(made), seconds, str(error), refused_rightly(goal), 0.0, 0.0)
    seconds = time.perf_counter() - began
    met, close, distance = goal.met_by(result.encoded.data)
    quality = result.encoded.quality
    number = stream_quality(goal.model.config, quality)
    beyond = number + 1 if goal.name == SIZE else number - 1
    last = not 0 <= beyond <= most
    right = met and (close or last or not goal.met_by(goal.at(beyond))[0])
    return Outcome(len(made), seconds, "", right, distance, quality)


def refused_rightly(goal: ImageTarget) -> bool:
    """Whether neither end of the scale of qualities meets the target, or it has no value."""
    ends = (0, goal.model.config.steps_of_quality)
    try:
        return not any(goal.met_by(goal.at(number))[0] for number in ends)
    except targets.TargetError:
        return True


def table(found: Mapping[tuple[str, str], Outcome], chosen: Sequence[str]) -> None:
    """Prints a row per target, and then every image that was refused or missed."""
    print(f"{'target':<18}{'images':>7}{'hit':>5}{'refused':>9}{'trials':>8}{'most':>6}"
          f"{'distance':>10}{'most':>9}{'s':>7}")  # fmt: skip
    for target in chosen:
        rows = [row for (_, name), row in found.items() if name == target]
        files = [row for row in rows if not row.said]
        hits = [row for row in files if row.right]
        trials, distances = ([r[i] for r in files] or [np.nan] for i in (0, 4))
        print(f"{target:<18}{len(rows):>7}{len(hits):>5}{len(rows) - len(files):>9}"
              f"{np.mean(trials):>8.1f}{max(trials):>6}{np.mean(distances):>10.4f}"
              f"{max(distances, key=abs):>9.4f}"
              f"{np.median([row.seconds for row in rows]):>7.1f}")  # fmt: skip
    for (image, target), row in found.items():
        if row.said or not row.right:
            met = f"met at quality {row.quality:g}, where the next one would meet it too"
            verdict = row.said or (met if row.distance >= 0 else "missed")
            wrong = not row.right and (row.said or row.distance < 0)
            print(f"{target}, {image}: {verdict}{' (wrong)' if wrong else ''}")


def kept(path: Path | None) -> dict[tuple[str, str], Outcome]:
    """The outcomes that a file has, by image and target."""
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {(image, target): Outcome(*values) for image, target, values in lines}


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), metavar="NAME:VALUE")
    parser.add_argument("-o", "--out", type=Path, help="file of outcomes, added to")
    options: argparse.Namespace = parser.parse_args()
    chosen = {}
    for text in options.targets:
        name, _, value = text.partition(":")
        if name != SIZE and name not in targets.TARGET_METRICS:
            parser.error(
                f"{text} is none of {', '.join((SIZE, *targets.TARGET_METRICS))} with a value"
            )
        chosen[text] = (name, float(value))
    model = ModelLibrary().load(options.model)
    photographs = images_of_folder.named_images(options)
    found = kept(options.out)
    for image, pixels in {**photographs, **made_images()}.items():
        for text, (name, value) in chosen.items():
            if (image, text) not in found:
                found[image, text] = outcome(ImageTarget(model, pixels, name, value))
                if options.out:
                    with options.out.open("a") as file:
                        file.write(json.dumps([image, text, found[image, text]]) + "\n")
    for title, names in (("images of the folder", photographs), ("made images", made_images())):
        print(title)
        table({key: row for key, row in found.items() if key[0] in names}, list(chosen))


if __name__ == "__main__":
    main()
