"""Train an RDONet, or export the weights of a run.

python train.py --preset small --data DIR [DIR ...] --run RUN
python train.py export RUN NAME
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from rdonet_jax import config, data, training_run, zoo
except ModuleNotFoundError as error:
    sys.exit(f"train.py: {error.name} is not installed; pip install '.[train]' brings it")

STAGE_SHARE = 2000 / 2600
"""Of all steps, those with random masks: 2000 of 2600 epochs in the original."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; every training option is a field of `config.TrainingConfig`."""
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small", choices=list(config.PRESETS))
    parser.add_argument(
        "--thresholds", nargs=2, type=float, metavar=("T64", "T32"),
        help="of the variance masks, in squared grey levels (default: the preset's)",
    )  # fmt: skip
    parser.add_argument("--data", nargs="+", required=True, help="folders of training pictures")
    parser.add_argument("--valid", nargs="*", default=[], help="folders of validation pictures")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--steps", type=int, help="both stages together, in the ratio 2000 : 600")
    for field in dataclasses.fields(config.TrainingConfig):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), help=f"default {field.default}")
    for field in dataclasses.fields(training_run.Intervals):
        parser.add_argument(
            f"--{field.name}-every", type=int, default=field.default, metavar="STEPS",
            help=f"default {field.default}",
        )  # fmt: skip
    return parser.parse_args(arguments)


def training_config(options: argparse.Namespace) -> config.TrainingConfig:
    """The training options that were given, over the defaults."""
    names = [field.name for field in dataclasses.fields(config.TrainingConfig)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.steps is not None:
        if "stage1_steps" in given or "stage2_steps" in given:
            raise config.ConfigError("give either --steps or the lengths of the stages")
        given["stage1_steps"] = round(options.steps * STAGE_SHARE)
        given["stage2_steps"] = options.steps - given["stage1_steps"]
    return config.TrainingConfig(**given)


def train(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    changes = {"thresholds": tuple(options.thresholds)} if options.thresholds else {}
    model = config.preset(options.preset, **changes)
    run = training_run.Run(model, training_config(options), options.preset)
    intervals = training_run.Intervals(
        options.log_every, options.validation_every, options.checkpoint_every
    )
    training_run.train(
        options.run, run, options.data, options.valid, options.resume, intervals,
        command=shlex.join(["train.py", *arguments]),
    )  # fmt: skip


def export(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="train.py export")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("name", help="of the model; the file is called NAME-HASH.safetensors")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument(
        "--thresholds", nargs=2, type=float, metavar=("T64", "T32"),
        help="of the variance mask, in squared grey levels (default: those of the training)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    thresholds = tuple(options.thresholds) if options.thresholds else None
    print(training_run.export(options.run, options.name, options.out, thresholds))


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong."""
    try:
        if arguments[:1] == ["export"]:
            export(arguments[1:])
        else:
            train(arguments)
    except (config.ConfigError, data.DataError, training_run.RunError, zoo.ZooError) as error:
        return failed(str(error))
    except OSError as error:
        return failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 0


def failed(complaint: str) -> int:
    """One line on the error stream, and the exit code."""
    print("train.py:", " ".join(complaint.split()), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
