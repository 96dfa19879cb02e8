"""Compresses photographs for a detector that reads numbers, and draws its accuracy over the rate.

    pip install '.[train,report,demo]'
    python -m examples.machines [--out FOLDER]

It trains a small detector of digits, puts numbers on photographs that it has not seen, and codes
them: by JPEG, by the model as it is, and with regions that the detector finds in the originals. The
folder gets `accuracy.png`, `accuracy.json` and the detector. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from examples.machines import accuracy, detector, methods, results, scenes, training
from examples.machines.detector import Detector
from examples.machines.methods import DEFAULT_METHODS, METHODS, Coder
from examples.machines.tuning import TaskDistortion
from rdonet_jax.codec import family_codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.evaluation.anchors import MissingAnchorError
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models import zoo

SEED = 1
"""Of the scenes. That of the training is 0."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m examples.machines", description=__doc__.splitlines()[0]
    )
    found.add_argument("--out", type=Path, default=Path("machines_output"))
    found.add_argument("--model", default="standard", help="a portable model")
    found.add_argument("--steps", type=_count, default=1200, help="of the detector's training")
    found.add_argument("--detector", type=Path, help="one that was written before")
    found.add_argument("--scenes", type=_count, default=2, help="of each of the five photographs")
    found.add_argument("--side", type=_count, help="cuts photographs to so many pixels")
    found.add_argument(
        "--methods", nargs="+", choices=METHODS, default=DEFAULT_METHODS, metavar="METHOD",
        help=f"of {', '.join(METHODS)}; without the last one, which takes long, if none is named",
    )  # fmt: skip
    found.add_argument("--refine", type=_count, default=30, help="iterations of 'refined'")
    return found


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def run(options: argparse.Namespace) -> None:
    model = zoo.load(options.model)
    if not family_codec.of(model.config).takes_regions:
        raise EncodeError(f"{model.name}: the example needs a portable model, with regions")
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    found = _detector(options)
    coder = Coder(model, options.model, found, TaskDistortion(found), options.refine)
    chosen = scenes.test_scenes(SEED, options.scenes, options.side)
    truth = [scene.digits for scene in chosen]
    read = [found.detect(scene.pixels) for scene in chosen]
    original = accuracy.average_precision(read, truth)
    count = sum(map(len, truth))
    print(f"{len(chosen)} scenes with {count} digits; average precision {original:.3f}")
    subjects = [methods.subject(coder, scene) for scene in chosen]
    curves: results.Curves = {}
    for name in options.methods:
        curves[name] = []
        for setting in METHODS[name].settings:
            point = results.measure(coder, subjects, name, setting)
            curves[name].append(point)
            print(
                f"{METHODS[name].label:<26}{setting:>5g}{point.bpp:>8.4f} bpp"
                f"  precision {point.precision:.3f}",
                flush=True,
            )
    facts = {
        "scenes": len(chosen), "digits": count, "precision_of_originals": original,
        "model": f"{model.name} {model.digest.hex()}", "side": options.side,
        "refinements": options.refine if "refined" in options.methods else None,
    }  # fmt: skip
    results.write_json(options.out / "accuracy.json", facts, curves)
    results.draw(options.out / "accuracy.png", curves, original)
    print("\n".join(results.comparison(curves)))
    seconds = time.perf_counter() - began
    print(f"{options.out}/: accuracy.png, accuracy.json, detector.safetensors ({seconds:.0f} s)")


def _detector(options: argparse.Namespace) -> Detector:
    """The detector of a file, or a new one, which is written."""
    if options.detector:
        return detector.load(options.detector)
    print(f"training the detector, {options.steps} steps")
    found = training.trained(options.steps, seed=0)
    detector.save(options.out / "detector.safetensors", found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong."""
    options = parser().parse_args(arguments)
    try:
        run(options)
    except (
        OSError, EncodeError, ImageError, zoo.ZooError, scenes.SceneError,
        detector.DetectorError, MissingAnchorError,
    ) as error:  # fmt: skip
        print(f"machines: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
