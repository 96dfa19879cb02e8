"""A training run: its folder, the loop, and what it prints.

A run's folder holds `config.json` (everything that fixes the run, and where it comes from),
`log.jsonl` (one line per interval) and `checkpoints/`.

`config.json` is written first and in one piece, then the checkpoint of step 0, and only then the
loop begins. So a run that was killed before its first checkpoint has a configuration and no log;
resuming it starts it afresh.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from rdonet_jax import data, files, training, zoo
from rdonet_jax.config import ConfigError, ModelConfig, TrainingConfig, from_dict
from rdonet_jax.models import rdonet

CONFIG_FILE = "config.json"
LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"
HELD_OUT = 20
"""Without validation pictures, one training picture in so many is held out for it."""

KEPT = "the last checkpoint is kept"


class RunError(RuntimeError):
    """A run that cannot be started or continued."""


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often things happen, in steps."""

    log: int = 50
    validation: int = 1000
    checkpoint: int = 500

    def __post_init__(self) -> None:
        for name, steps in dataclasses.asdict(self).items():
            if steps < 1:
                raise ConfigError(f"the {name} interval must be at least one step, not {steps}")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a run comes from, recorded when it starts."""

    command: str
    folders: tuple[str, ...]  # as given; they may move
    validation_folders: tuple[str, ...]  # empty when training pictures are held out
    pictures: data.PictureSet
    validation_pictures: data.PictureSet
    started_from: Mapping[str, Any] | None  # the record of the weights it goes on from

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Origin:
        sets = ("pictures", "validation_pictures")
        return from_dict(cls, {**values, **{k: data.PictureSet(**values[k]) for k in sets}})


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is made of: the network, the schedule and a name for its preset."""

    model: ModelConfig
    training: TrainingConfig
    preset: str
    origin: Origin | None = None  # None before the start, and for runs that did not record it

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, folder: Path) -> Run:
        """The run of a folder. Raises `RunError` when there is none or its file is damaged."""
        try:
            values = json.loads((folder / CONFIG_FILE).read_text())
            origin = values.get("origin")
            return cls(
                from_dict(ModelConfig, values["model"]),
                from_dict(TrainingConfig, values["training"]),
                str(values["preset"]),
                None if origin is None else Origin.of_json(origin),
            )
        except KeyError as error:
            raise RunError(f"{folder}: {CONFIG_FILE} has no entry {error}") from error
        except (OSError, AttributeError, TypeError, ValueError) as error:
            raise RunError(f"{folder}: holds no training run ({error})") from error


def check_folder(folder: Path, run: Run, resume: bool) -> None:
    """Raises `RunError` if the folder holds another run, or one that is not to be resumed."""
    described = folder / CONFIG_FILE
    if resume:
        if not described.exists():
            raise RunError(f"{folder}: there is no run to resume")
        _require_same(folder, Run.load(folder), run)
        return
    if described.exists():
        raise RunError(f"{folder}: there is a run already; continue it with --resume")
    for name in (CHECKPOINTS, LOG_FILE):
        if (folder / name).exists():
            raise RunError(f"{folder}: holds {name} of a run without its {CONFIG_FILE}")


def claim(folder: Path, run: Run) -> None:
    """Makes the run's folder, with the description of the run in it."""
    folder.mkdir(parents=True, exist_ok=True)
    files.replace(folder / CONFIG_FILE, lambda file: file.write(run.to_json().encode()))


def _require_same(folder: Path, held: Run, run: Run) -> None:
    if dataclasses.replace(held, origin=None) != dataclasses.replace(run, origin=None):
        raise RunError(f"{folder}: holds a run with another configuration; resume it unchanged")
    if held.origin is None:
        raise RunError(f"{folder}: does not say which pictures it had; it can only be exported")
    for purpose, name in (("training", "pictures"), ("validation", "validation_pictures")):
        before, now = getattr(held.origin, name), getattr(run.origin, name)
        if before != now:
            raise RunError(
                f"{folder}: the {purpose} pictures are not those that the run began with: "
                f"{before.count} then, {now.count} now, and their names below the folders, their "
                "sizes and their order must be the same"
            )


def split_pictures(
    folders: Sequence[str], validation: Sequence[str], crop: int
) -> tuple[data.Pictures, data.Pictures]:
    """Pictures for training and for validation, held out if no folders are named for it.

    Raises `RunError` when there are too few to hold one out, and `DataError`.
    """
    paths = data.find_pictures(folders)
    if validation:
        held_out = data.find_pictures(validation)
    elif len(paths) < 2:
        raise RunError("one picture cannot be for training and validation both; add --valid")
    else:
        held_out = paths[::HELD_OUT]
        paths = [path for path in paths if path not in set(held_out)]
    return data.usable(paths, crop), data.usable(held_out, crop, "validation")


def train(
    folder: Path,
    run: Run,
    folders: Sequence[str],
    validation: Sequence[str] = (),
    resume: bool = False,
    intervals: Intervals = Intervals(),
    command: str = "",
) -> training.TrainState:
    """Runs the schedule to its end and returns the last state.

    `command` is what started the run, for its record. A run that was killed before its first
    checkpoint is started afresh by `resume`. Raises `RunError`, `ConfigError`, `DataError` or
    `ZooError` before anything is written when it cannot start, and `RunError` when the loss or the
    state stops being finite; no such state is saved.
    """
    config = run.training
    training.shard(np.empty(config.batch_size))
    pictures, held_out = split_pictures(folders, validation, config.crop)
    origin = Origin(
        command, tuple(map(str, folders)), tuple(map(str, validation)),
        data.picture_set(pictures, folders), data.picture_set(held_out, validation or folders),
        None if resume else _record_of_start(config),
    )  # fmt: skip
    run = dataclasses.replace(run, origin=origin)
    check_folder(folder, run, resume)
    validation_crops = data.centre_crops(held_out, config.crop)
    start = None
    if not resume:
        start = training.create_state(run.model, config)
        claim(folder, run)
    with contextlib.closing(training.open_checkpoints(folder / CHECKPOINTS)) as checkpoints:
        state = _first_state(folder, run, checkpoints, start)
        batches = data.batches(
            pictures, config.crop, config.min_scale, config.seed, config.batch_size,
            int(state.step), config.steps,
        )  # fmt: skip
        recorder = _Recorder(folder / LOG_FILE, run, validation_crops, intervals)
        step = training.make_step(run.model, config)
        return _loop(training.replicate(state), batches, step, recorder, checkpoints)


def _record_of_start(config: TrainingConfig) -> Mapping[str, Any] | None:
    """The record of the weights that a run goes on from, which may be gone when it ends."""
    return None if config.start in ("linear", "random") else zoo.load(config.start).record


def _first_state(
    folder: Path, run: Run, checkpoints: Any, start: training.TrainState | None
) -> training.TrainState:
    """The newest checkpoint's state; if there is none, the start's, which is saved at once."""
    if checkpoints.latest_step() is not None:
        return training.restore_state(checkpoints, run.model, run.training)
    if (folder / LOG_FILE).exists():
        raise RunError(f"{folder}: has a log, but no checkpoint to resume from")
    if start is None:
        start = training.create_state(run.model, run.training)
    training.save_state(checkpoints, start)
    checkpoints.wait_until_finished()
    return start


def _loop(
    state: training.TrainState,
    batches: Iterable[np.ndarray],
    step: Any,
    recorder: _Recorder,
    checkpoints: Any,
) -> training.TrainState:
    first = int(state.step[0])
    with tqdm(total=recorder.run.training.steps, initial=first, unit="step") as bar:
        for number, crops in enumerate(batches, start=first + 1):
            state, metrics = step(state, training.shard(crops))
            recorder.record(number, state, metrics, bar)
            if recorder.due(number, recorder.intervals.checkpoint):
                _save(number, training.unreplicate(state), recorder, checkpoints)
            bar.update()
    return training.unreplicate(state)


def _save(number: int, state: training.TrainState, recorder: _Recorder, checkpoints: Any) -> None:
    """A checkpoint, unless the state is not finite: the newest one must stay good."""
    recorder.require_finite(number)
    if not training.is_finite(state):
        raise RunError(f"the state is not finite after step {number}; {KEPT}")
    training.save_state(checkpoints, state)


class _Recorder:
    """Logs and validates at intervals; keeps sums between them."""

    def __init__(self, log: Path, run: Run, crops: np.ndarray, intervals: Intervals) -> None:
        self.log, self.run, self.crops, self.intervals = log, run, crops, intervals
        self.pending: list[training.StepMetrics] = []
        self.since: float | None = None  # when the clock started; not before the first step's end
        self.timed = 0  # steps since then

    def due(self, number: int, interval: int) -> bool:
        return number % interval == 0 or number == self.run.training.steps

    def record(
        self, number: int, state: training.TrainState, metrics: training.StepMetrics, bar: tqdm
    ) -> None:
        self.pending.append(metrics)
        if self.since is None:  # the first step was compiled as well
            jax.block_until_ready(metrics)
            self.since = time.perf_counter()
        else:
            self.timed += 1
        if self.due(number, self.intervals.log):
            self._log_means(number, bar)
        if self.due(number, self.intervals.validation):
            self._validate(number, state, bar)

    def require_finite(self, number: int) -> None:
        """Raises `RunError` for the first step since the last line of the log that diverged."""
        losses = [float(metrics.loss[0]) for metrics in self.pending]
        for step, loss in enumerate(losses, start=number - len(losses) + 1):
            if not math.isfinite(loss):
                raise RunError(f"the loss is {loss} at step {step}; {KEPT}")

    def _log_means(self, number: int, bar: tqdm) -> None:
        self.require_finite(number)
        loss, bpp, mse, norm = np.mean(
            [[float(value[0]) for value in metrics] for metrics in self.pending], axis=0
        )
        stage = 1 if number <= self.run.training.stage1_steps else 2
        psnr = -10 * math.log10(mse)
        line = {"step": number, "stage": stage, "loss": loss, "bpp": bpp, "psnr": psnr}
        line["gradient_norm"] = norm
        shown = f"stage {stage}, loss {loss:.3f}, {bpp:.3f} bpp, {psnr:.2f} dB"
        now = time.perf_counter()
        if self.timed:
            rate = self.timed * self.run.training.batch_size / (now - self.since)
            line["crops_per_second"] = rate
            shown += f", {rate:.1f} crops/s"
        self.pending, self.since, self.timed = [], now, 0
        bar.set_postfix_str(shown)
        self._write(line)

    def _validate(self, number: int, state: training.TrainState, bar: tqdm) -> None:
        self.require_finite(number)
        jax.block_until_ready(state)
        began = time.perf_counter()
        ema = training.unreplicate(state.ema)
        result = training.validate(self.run.model, self.run.training, ema, self.crops)
        shares = " / ".join(f"{share:.0%}" for share in result.shares)
        bar.write(
            f"step {number}: validation loss {result.loss:.4f}, {result.bpp:.4f} bpp (estimate), "
            f"{result.psnr:.2f} dB, levels 16/32/64: {shares}"
        )
        self._write({"step": number, "validation": result._asdict()})
        self.since += time.perf_counter() - began

    def _write(self, values: dict[str, Any]) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps(values) + "\n")


def export(
    folder: Path, name: str, destination: Path, thresholds: tuple[float, float] | None = None
) -> Path:
    """Writes the averaged weights of a run's newest checkpoint as one weights file.

    The file is named NAME-HASH.safetensors, and its record says how it was trained and on what.
    `thresholds` of the variance mask take the place of those of the training; only encoders use
    them. Raises `RunError` when there is no run or no checkpoint.
    """
    run = Run.load(folder)
    checkpoints = training.open_checkpoints(folder / CHECKPOINTS)
    try:
        state = training.restore_state(checkpoints, run.model, run.training)
    except FileNotFoundError as error:
        raise RunError(str(error)) from error
    finally:
        checkpoints.close()
    log = folder / LOG_FILE
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    validations = [line["validation"] for line in lines if "validation" in line]
    record = {
        "preset": run.preset,
        "training": dataclasses.asdict(run.training),
        "steps_done": int(state.step),
        "parameters": rdonet.parameter_count(state.ema),
        "validation": validations[-1] if validations else None,
        "jax": jax.__version__,
        "origin": dataclasses.asdict(run.origin) if run.origin else None,
    }
    model = dataclasses.replace(run.model, thresholds=thresholds or run.model.thresholds)
    return zoo.save(destination, name, model, state.ema, record)
