"""Train a model, or export the weights of a run.

{program} --preset small --data DIR [DIR ...] --run RUN
{program} --config run.yaml --model.latents 320 128 96 --training.batch-size 64 --data DIR --run RUN
{program} --fine-tune standard --minutes 20 --data DIR [DIR ...] --run RUN
{program} --preset small --help       the fields of this preset's model
{program} export RUN NAME
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdonet_jax.cli import extensions, libraries, output
from rdonet_jax.cli.options import argument_types, config_options, host_options, run_settings
from rdonet_jax.cli.options.command_parser import add_import_option
from rdonet_jax.cli.options.config_options import Section
from rdonet_jax.cli.options.run_settings import RunSettings
from rdonet_jax.cli.program import Parser, exit_code
from rdonet_jax.core import config, presets
from rdonet_jax.imaging import dataset
from rdonet_jax.models import registry, zoo
from rdonet_jax.runtime import interrupts, multihost
from rdonet_jax.runtime.platform import require_platform
from rdonet_jax.storage import urls
from rdonet_jax.training import config as training_config
from rdonet_jax.training import divergence, fine_tuning
from rdonet_jax.training import run as training_run
from rdonet_jax.training.config import RunLength, TrainingConfig
from rdonet_jax.training.folder import checkpoints, run_dir, run_log
from rdonet_jax.training.folder.run_dir import Run
from rdonet_jax.training.loop import Intervals, Outcome

EXPECTED = (
    checkpoints.CheckpointError,
    config.ConfigError,
    divergence.DivergenceError,
    dataset.DatasetError,
    run_dir.RunError,
    run_log.LogError,
    zoo.ZooError,
)
"""Errors that are one line to the user."""

# Their options have a second spelling, without a section, from before there were sections.
TRAINING = Section(
    "training",
    TrainingConfig,
    TrainingConfig(),
    lambda field: [f"--{config_options.dashed(field)}"],
    training_config.CHOICES,
)
INTERVALS = Section("intervals", Intervals, Intervals(), lambda field: [f"--{field}-every"])
LENGTH = Section(
    "length",
    RunLength,
    flags=lambda field: [f"--{config_options.dashed(field)}"],
    left_out=["as_before"],
)


def run(arguments: Sequence[str], program: str = "rdonet train", began: float | None = None) -> int:
    """The command as a process of its own, perhaps one of several hosts; returns the exit code.

    `began` is when it began, by `time.monotonic`, for a run of so many minutes; without it, now.
    """
    interrupts.install_handlers(program)
    try:
        with multihost.failing_together():
            sys.exit(main(arguments, program, began))
    except SystemExit as stop:
        return int(stop.code or 0)


def main(
    arguments: Sequence[str], program: str = "rdonet train", began: float | None = None
) -> int:
    """The exit code: 0, or after one line that says what is wrong 1, 2 for wrong usage, 130 after
    Ctrl-C, 129 after a hang-up."""
    began = time.monotonic() if began is None else began
    output.show_warnings(program)
    if arguments[:1] == ["export"]:
        return exit_code(lambda: export(arguments[1:], program), EXPECTED, program)
    return exit_code(lambda: train(arguments, program, began), EXPECTED, program)


def train(arguments: Sequence[str], program: str, began: float) -> int:
    """Trains, from the start or from the last checkpoint; returns the exit code."""
    extensions.import_named(arguments, program)
    options, settings = parse(arguments, program)
    host_options.join(options)
    require_platform()
    outcome = training_run.train(
        options.run,
        Run(settings.model, settings.training, settings.preset),
        training_run.Sources(options.data, options.valid),
        options.resume,
        settings.intervals,
        settings.length,
        command=shlex.join([*program.split(), *arguments]),
        export_to=options.export_to,
        began=began,
    )
    if multihost.is_first():
        _say_ended(options.run, outcome, program)
    if not outcome.stopped_by:
        return 0
    # Being asked to stop by the system is no failure; Ctrl-C and a hang-up are to whoever called.
    number = signal.Signals[outcome.stopped_by]
    return 0 if number == signal.SIGTERM else 128 + number


def parse(arguments: Sequence[str], program: str) -> tuple[argparse.Namespace, RunSettings]:
    """The command line, and the settings of the run. Raises `ConfigError`.

    What fields a model has depends on its preset and family, so these are looked for first.
    """
    first, _ = _first_parser(program).parse_known_args(arguments)
    values = run_settings.read(first.config) if first.config else {}
    held = _held(first)
    base = _base(first, values, held)
    model = Section("model", type(base.model), base.model)
    parser = _parser(program, model)
    options = parser.parse_args(arguments)
    if missing := [name for name in ("data", "run") if getattr(options, name) is None]:
        parser.error(f"--{missing[0]} is missing")
    sections = (model, TRAINING, INTERVALS, LENGTH)
    line: run_settings.Values = {
        section.name: config_options.given(options, section) for section in sections
    }
    file: run_settings.Values = (
        run_settings.from_file(first.config, values, type(base.model)) if first.config else {}
    )
    if first.fine_tune is not None:
        file, line = run_settings.fine_tuned(_recipe(first.fine_tune, held), file, line)
    settings = run_settings.resolved(base, file, line)
    run_settings.require_effect(settings, line["training"])
    if options.export_to is not None and not settings.intervals.export:
        parser.error("--export-to says where --export-every writes, which is missing")
    if options.thresholds:
        if "thresholds" in line["model"]:
            raise config.ConfigError("give either --thresholds or --model.thresholds")
        changed = registry.with_thresholds(settings.model, options.thresholds)
        settings = settings._replace(model=changed)
    return options, settings


def _held(first: argparse.Namespace) -> Run | None:
    """The run in a local folder that is to be resumed, by `_first_parser`.

    It has what it took from the weights that it began with, so these may be gone. A run at a URL is
    fetched later, so these weights must still be there.
    """
    is_local = first.resume and isinstance(first.run, Path)
    is_there = is_local and (first.run / run_dir.CONFIG_FILE).is_file()
    return Run.load(first.run) if is_there else None


def _recipe(start: str, held: Run | None) -> dict[str, Any]:
    """What fine-tuning of these weights sets. Raises `ZooError` for weights that there are not."""
    if held is not None and held.training.start == start:
        return fine_tuning.settings_of_run(held.training)
    return fine_tuning.settings(start)


def _base(
    first: argparse.Namespace, values: Mapping[str, Any], held: Run | None
) -> run_settings.Base:
    """What the model's configuration starts from, by `_first_parser` and the sections of a file.

    A resumed run that is `held` has its own.
    """
    if first.preset and first.config:
        run_settings.require_own_preset(first.config, values, first.preset)
    preset = first.preset or run_settings.preset_of(values)
    family = first.family or values.get("model", {}).get(registry.FAMILY_KEY)
    start = first.start or first.fine_tune or values.get("training", {}).get("start")
    if preset is None and family is None and held is not None:
        return run_settings.Base(held.preset, held.model)
    return run_settings.base(preset, family, start)


def _first_parser(program: str) -> Parser:
    """For the options that the others depend on."""
    parser = Parser(prog=program, add_help=False)
    _add_base(parser)
    parser.add_argument("--training.start", "--start", dest="start")
    parser.add_argument("--run", type=urls.parsed)
    _add_resume(parser)
    return parser


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", nargs="?", const=True, default=False, choices=[training_run.AUTO],
        metavar=training_run.AUTO,
        help="continue from the last checkpoint; with another length if the steps done would be "
        "the same with it, as those of stage 2 are with --schedule constant; --resume auto begins "
        "a run where there is none yet",
    )  # fmt: skip


def _add_base(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "configuration", "A file goes over the preset, options over the file."
    )
    group.add_argument(
        "--preset", metavar="NAME",
        help=f"{', '.join(presets.PRESETS)} (default: that of the file, or of the family, or the "
        f"network that --start names, or {run_settings.DEFAULT_PRESET})",
    )  # fmt: skip
    group.add_argument(
        "--config", type=argument_types.local_path, metavar="FILE",
        help="a YAML or JSON file with the sections preset, model, training, intervals, length, or "
        "the config.json of a run",
    )  # fmt: skip
    group.add_argument(
        "--fine-tune", metavar="WEIGHTS",
        help="adapt these weights, a model's name or a file, to the images: --start WEIGHTS with "
        "the loss that they were trained for, variance masks, rounded rates and small steps",
    )  # fmt: skip
    group.add_argument(
        "--model.family", dest="family", metavar="NAME",
        help=f"{', '.join(registry.FAMILIES)}; without a preset, its defaults are the base",
    )  # fmt: skip


def _parser(program: str, model: Section) -> Parser:
    """The whole parser; every option of a section is a field of a configuration."""
    parser = Parser(
        prog=program,
        description=(__doc__ or "").format(program=program),
        usage=f"{program} [options] --data DIR [DIR ...] --run RUN",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="DIR",
        help="folders of training images, URLs, or tfds:NAME[:SPLIT] and hf:NAME[:SPLIT]",
    )
    parser.add_argument(
        "--valid",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of validation images, or URLs",
    )
    parser.add_argument("--run", type=urls.parsed, metavar="RUN", help="the run's folder, or a URL")
    _add_resume(parser)
    _add_base(parser)
    parser.add_argument(
        "--thresholds", nargs="+", type=float, metavar="T",
        help="of the variance masks, in squared gray levels, T64 T32; for a variable-rate model "
        "such a pair for every knot of its qualities (default: the preset's)",
    )  # fmt: skip
    config_options.add(parser, model, f"model ({registry.family_of(model.defaults).name})")
    config_options.add(parser, TRAINING, "training")
    config_options.add(parser, LENGTH, "length, if not --stage1-steps and --stage2-steps")
    config_options.add(parser, INTERVALS, "how often, in steps (exports: in minutes)")
    parser.add_argument(
        "--export-to", type=urls.parsed, metavar="DIR",
        help="folder or URL of what --export-every writes (default: weights in the run's folder)",
    )  # fmt: skip
    add_import_option(parser)
    host_options.add(parser)
    return parser


def _say_ended(run: str | Path, outcome: Outcome, program: str) -> None:
    """Where the run stands and how to go on."""
    step = int(outcome.state.step)
    if outcome.stopped_by:
        stopped = f"{outcome.stopped_by}: stopped after step {step}, --resume goes on from there"
        output.note(stopped, program)
        return
    if outcome.passed < 1:
        output.note(
            f"{run}: its minutes were over at {outcome.passed:.0%} of the schedule, after step "
            f"{step}: compiling took all of them; --resume --more-minutes goes on from there",
            program,
        )
        return
    state = "was finished already" if outcome.was_finished else "finished"
    below = checkpoints.LAST
    checkpoints_of = urls.join(run, below) if isinstance(run, str) else run / below
    further = (
        "a new run can go on from them with --start"
        if outcome.by_clock
        else "--resume with more steps goes on where its schedule allows it"
    )
    output.note(
        f"{run}: {state} after step {step}; its checkpoints are in {checkpoints_of}, "
        f"'{program} export {shlex.quote(str(run))} NAME' writes its weights, and {further}",
        program,
    )


def export(arguments: Sequence[str], program: str) -> int:
    """Writes the weights of a run, and prints their path; returns the exit code."""
    parser = Parser(prog=f"{program} export")
    parser.add_argument("run", type=urls.parsed, help="the run's folder, or a URL")
    parser.add_argument("name", help="of the model; the file is called NAME-HASH.safetensors")
    parser.add_argument(
        "--out", type=urls.parsed, default=Path(), help="folder to write to, or a URL"
    )
    parser.add_argument(
        "--thresholds", nargs="+", type=float, metavar="T",
        help="of the variance mask, in squared gray levels, T64 T32; for a variable-rate model "
        "such a pair for every knot of its qualities (default: those of the training)",
    )  # fmt: skip
    parser.add_argument(
        "--best", action="store_true", help="the checkpoint that validated best, not the last one"
    )
    parser.add_argument(
        "--pack", action="store_true",
        help="large kernels in 7 to 8 bits per weight, which halves the file of a large network",
    )  # fmt: skip
    add_import_option(parser)
    options = parser.parse_args(arguments)
    extensions.import_all(options.imports)
    with libraries.quiet_libraries():
        path = training_run.export(
            options.run, options.name, options.out, options.thresholds, options.best, options.pack
        )
    output.say(str(path))
    return 0
