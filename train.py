"""Train an RDONet, or export the weights of a run.

python train.py --preset small --data DIR [DIR ...] --run RUN
python train.py export RUN NAME
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

try:
    from rdonet_jax.cli import console
    from rdonet_jax.core import config, interrupts
    from rdonet_jax.imaging import dataset
    from rdonet_jax.models import registry, zoo
    from rdonet_jax.training import checkpoints, divergence, multihost, run_dir, run_log
    from rdonet_jax.training import config as training_config
    from rdonet_jax.training import loop as training_loop
    from rdonet_jax.training import run as training_run
except ModuleNotFoundError as error:
    sys.exit(f"train.py: {error.name} is not installed; pip install '.[train]' brings it")

EXPECTED = (
    checkpoints.CheckpointError,
    config.ConfigError,
    divergence.DivergenceError,
    dataset.DatasetError,
    run_dir.RunError,
    run_log.LogError,
    zoo.ZooError,
)
"""Errors that are told in one line."""

INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; every training option is a field of `training_config.TrainingConfig`."""
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="standard", choices=list(config.PRESETS))
    parser.add_argument(
        "--thresholds", nargs="+", type=float, metavar="T",
        help="of the variance masks, in squared gray levels, T64 T32; for a portable network such "
        "a pair for every knot of its qualities (default: the preset's)",
    )  # fmt: skip
    parser.add_argument("--data", nargs="+", required=True, help="folders of training images")
    parser.add_argument("--valid", nargs="*", default=[], help="folders of validation images")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--resume", action="store_true",
        help="continue from the last checkpoint; with another length if the steps done would be "
        "the same with it, as those of stage 2 are with --schedule constant",
    )  # fmt: skip
    _add_length(parser.add_argument_group("length, if not --stage1-steps and --stage2-steps"))
    _add_training(parser.add_argument_group("training"))
    _add_intervals(parser.add_argument_group("how often, in steps"))
    _add_hosts(parser.add_argument_group("several hosts"))
    return parser.parse_args(arguments)


def _add_length(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--steps", type=int, help="both stages together, in the ratio 2000 : 600")
    group.add_argument("--epochs", type=float, help="the same, as crops per training image")
    group.add_argument("--stage1-epochs", type=float)
    group.add_argument("--stage2-epochs", type=float)


def _add_training(group: argparse._ArgumentGroup) -> None:
    for field in dataclasses.fields(training_config.TrainingConfig):
        option, default = "--" + field.name.replace("_", "-"), field.default
        if isinstance(default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        else:
            choices = training_config.CHOICES.get(field.name)
            group.add_argument(
                option, type=type(default), choices=choices, help=f"default {default}"
            )


def _add_intervals(group: argparse._ArgumentGroup) -> None:
    for field in dataclasses.fields(training_loop.Intervals):
        group.add_argument(
            f"--{field.name}-every", type=int, default=field.default, metavar="STEPS",
            help=f"default {field.default}",
        )  # fmt: skip


def _add_hosts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--distributed", action="store_true",
        help="join the hosts that SLURM, Open MPI, Cloud TPU or Kubernetes name",
    )  # fmt: skip
    group.add_argument("--coordinator", metavar="ADDRESS:PORT", help="of the first host")
    group.add_argument("--processes", type=int, help="how many there are in all")
    group.add_argument("--process", type=int, help="the number of this one, from 0")


def chosen_training(options: argparse.Namespace) -> training_config.TrainingConfig:
    """The training options that were given, over the defaults."""
    names = [field.name for field in dataclasses.fields(training_config.TrainingConfig)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    lengths = (options.steps, options.epochs, options.stage1_epochs, options.stage2_epochs)
    if {"stage1_steps", "stage2_steps"} & set(given) and lengths != (None,) * 4:
        raise config.ConfigError("give the length of the run either in both stages' steps or once")
    return training_config.TrainingConfig(**given)


def chosen_length(options: argparse.Namespace) -> training_config.RunLength:
    """What is said of the length but for both stages' steps; nothing at all: as before."""
    given = (options.steps, options.epochs, options.stage1_epochs, options.stage2_epochs)
    is_said = {*given, options.stage1_steps, options.stage2_steps} != {None}
    return training_config.RunLength(*given, as_before=not is_said)


def join_hosts(options: argparse.Namespace) -> None:
    """Connects the hosts of a run, if there are several."""
    cluster = multihost.Cluster(options.coordinator, options.processes, options.process)
    if cluster != multihost.Cluster() or options.distributed:
        multihost.join(cluster)


def train(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    model = config.preset(options.preset)
    if options.thresholds:
        model = registry.with_thresholds(model, options.thresholds)
    run = run_dir.Run(model, chosen_training(options), options.preset)
    intervals = training_loop.Intervals(
        options.log_every, options.validation_every, options.checkpoint_every,
        options.preview_every,
    )  # fmt: skip
    length = chosen_length(options)
    join_hosts(options)
    outcome = training_run.train(
        options.run, run, training_run.Sources(options.data, options.valid), options.resume,
        intervals, length, command=shlex.join(["train.py", *arguments]),
    )  # fmt: skip
    step = int(outcome.state.step)
    if not outcome.stopped_by:
        if multihost.is_first():
            say_finished(options.run, step, outcome.was_finished)
        return 0
    print(f"train.py: {outcome.stopped_by}: stopped after step {step}, --resume goes on from there",
          file=sys.stderr)  # fmt: skip
    # Being asked to stop by the system is no failure; Ctrl-C is one to whoever called this.
    return INTERRUPTED if outcome.stopped_by == "SIGINT" else 0


def say_finished(run: Path, step: int, already: bool) -> None:
    """Where the run stands and how to go on."""
    state = "was finished already" if already else "finished"
    print(f"train.py: {run}: {state} after step {step}; its checkpoints are in "
          f"{run / checkpoints.LAST}, 'train.py export {shlex.quote(str(run))} NAME' writes its "
          "weights, and --resume with more steps goes on where its schedule allows it",
          file=sys.stderr)  # fmt: skip


def export(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="train.py export")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("name", help="of the model; the file is called NAME-HASH.safetensors")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument(
        "--thresholds", nargs="+", type=float, metavar="T",
        help="of the variance mask, in squared gray levels, T64 T32; for a portable network such a "
        "pair for every knot of its qualities (default: those of the training)",
    )  # fmt: skip
    parser.add_argument(
        "--best", action="store_true", help="the checkpoint that validated best, not the last one"
    )
    parser.add_argument(
        "--pack", action="store_true",
        help="large kernels in 7 to 8 bits per weight: less than half the size",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    print(
        training_run.export(
            options.run, options.name, options.out, options.thresholds, options.best, options.pack
        )
    )
    return 0


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong; 130 after Ctrl-C."""
    warnings.showwarning = show_warning
    try:
        if arguments[:1] == ["export"]:
            return export(arguments[1:])
        return train(arguments)
    except EXPECTED as error:
        return failed(str(error))
    except KeyboardInterrupt:
        failed("interrupted")
        return INTERRUPTED
    except OSError as error:
        return failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def show_warning(message: Warning | str, *_: object) -> None:
    """One line, without the place in the code."""
    console.note(f"warning: {' '.join(str(message).split())}", "train.py")


def failed(complaint: str) -> int:
    """One line on the error stream, and the exit code."""
    console.note(" ".join(complaint.split()), "train.py")
    return 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["export"]:
        interrupts.heed("train.py")  # a run heeds signals in its own way
    with multihost.failing_together():
        sys.exit(main(sys.argv[1:]))
