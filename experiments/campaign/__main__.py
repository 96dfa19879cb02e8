"""A training within a time limit: packs the images, then trains by the clock.

python -m experiments.campaign pack TRAIN VALID DATA --megabytes 36
python -m experiments.campaign train DATA OUT --minutes 9 --preset wide
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "python -m experiments.campaign"


def main(arguments: Sequence[str], began: float) -> int:
    """The exit code. `began` is when the process began, by `time.monotonic`."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    _add_pack(commands)
    _add_train(commands)
    options, more = parser.parse_known_args(arguments)
    if options.command == "pack":
        if more:
            parser.error(f"unknown arguments: {' '.join(more)}")
        from experiments.campaign import packing

        sources = packing.Sources(options.train, options.valid)
        return packing.run(sources, options.data, options.megabytes, options.format, options.crop)
    from experiments.campaign import training

    # The first imports on a machine take seconds: they come after `began`.
    return training.run(options, more, began)


def _add_pack(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("pack", help="images in one folder of bounded size")
    parser.add_argument("train", help="training images, as --data of rdonet train")
    parser.add_argument("valid", help="validation images, as --valid of rdonet train")
    parser.add_argument("data", type=Path, help="folder to be made")
    parser.add_argument("--megabytes", type=float, default=36.0, help="of all files (default: 36)")
    parser.add_argument("--format", choices=("avif", "jpeg"), help="default: avif if Pillow has it")
    parser.add_argument(
        "--crop", type=int, default=256,
        help="side of the middle of validation images, and least side of every image (256)",
    )  # fmt: skip


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train", help="trains; further options are those of rdonet train, and go over its own"
    )
    parser.add_argument("data", type=Path, help="folder that 'pack' made")
    parser.add_argument("out", type=Path, help="folder of the results: a few small files")
    parser.add_argument("--minutes", type=float, help="that the whole training takes")
    parser.add_argument("--preset", default="wide", help="of the model (default: wide)")
    parser.add_argument(
        "--state", type=Path, default=Path("runs/campaign"),
        help="folder that the next command on the same machine needs: the run with its "
        "checkpoints, decoded images, and what was compiled (default: runs/campaign)",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="go on from the checkpoint in --state; --more-minutes N gives it N from now on",
    )  # fmt: skip
    parser.add_argument(
        "--cpu", action="store_true",
        help="train where JAX finds a CPU alone, as JAX_PLATFORMS=cpu in the environment does too",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], time.monotonic()))
