"""A training run: its folder, the loop, and what it prints.

A run's folder holds `config.json` (everything that fixes the run), `log.jsonl` (one line per
interval) and `checkpoints/`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from rdonet_jax import data, training, zoo
from rdonet_jax.config import ModelConfig, TrainingConfig, from_dict
from rdonet_jax.models import rdonet

CONFIG_FILE = "config.json"
LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"
HELD_OUT = 20
"""Without validation pictures, one training picture in so many is held out for it."""


class RunError(RuntimeError):
    """A run that cannot be started or continued."""


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often things happen, in steps."""

    log: int = 50
    validation: int = 1000
    checkpoint: int = 500


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is made of: the network, the schedule and a name for its preset."""

    model: ModelConfig
    training: TrainingConfig
    preset: str

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, folder: Path) -> Run:
        """The run of a folder. Raises `RunError` when there is none."""
        try:
            values = json.loads((folder / CONFIG_FILE).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"{folder}: holds no training run ({error})") from error
        return cls(
            from_dict(ModelConfig, values["model"]),
            from_dict(TrainingConfig, values["training"]),
            values["preset"],
        )


def claim(folder: Path, run: Run, resume: bool) -> None:
    """Makes the run's folder, or checks that it holds the same run. Raises `RunError` if not."""
    described = folder / CONFIG_FILE
    if not described.exists():
        if resume:
            raise RunError(f"{folder}: there is no run to resume")
        folder.mkdir(parents=True, exist_ok=True)
        described.write_text(run.to_json())
        return
    if not resume:
        raise RunError(f"{folder}: there is a run already; continue it with --resume")
    if json.loads(described.read_text()) != json.loads(run.to_json()):
        raise RunError(f"{folder}: holds a run with another configuration; resume it unchanged")


def split_pictures(
    folders: Sequence[str], validation: Sequence[str], crop: int
) -> tuple[data.Pictures, np.ndarray]:
    """Pictures for training and crops for validation, held out if none are named."""
    paths = data.find_pictures(folders)
    if validation:
        held_out = data.find_pictures(validation)
    else:
        held_out = paths[::HELD_OUT]
        if len(paths) > len(held_out):
            paths = [path for path in paths if path not in set(held_out)]
    return data.usable(paths, crop), data.centre_crops(held_out, crop)


def train(
    folder: Path,
    run: Run,
    folders: Sequence[str],
    validation: Sequence[str] = (),
    resume: bool = False,
    intervals: Intervals = Intervals(),
) -> training.TrainState:
    """Runs the schedule to its end and returns the last state.

    Raises `RunError`, `ConfigError`, `DataError` or `ZooError` before anything is written when it
    cannot start, and `RunError` when the loss stops being a number.
    """
    config = run.training
    training.shard(np.empty(config.batch_size))
    pictures, validation_crops = split_pictures(folders, validation, config.crop)
    state = None if resume else training.create_state(run.model, config)
    claim(folder, run, resume)
    checkpoints = training.open_checkpoints(folder / CHECKPOINTS)
    if state is None:
        state = training.restore_state(checkpoints, run.model, config)
    else:
        training.save_state(checkpoints, state)
    batches = data.batches(
        pictures, config.crop, config.min_scale, config.seed, config.batch_size,
        int(state.step), config.steps,
    )  # fmt: skip
    recorder = _Recorder(folder / LOG_FILE, run, validation_crops, intervals)
    step = training.make_step(run.model, config)
    try:
        state = _loop(training.replicate(state), batches, step, recorder, checkpoints)
    finally:
        checkpoints.wait_until_finished()
        checkpoints.close()
    return state


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
                training.save_state(checkpoints, training.unreplicate(state))
            bar.update()
    return training.unreplicate(state)


class _Recorder:
    """Logs and validates at intervals; keeps sums between them."""

    def __init__(self, log: Path, run: Run, crops: np.ndarray, intervals: Intervals) -> None:
        self.log, self.run, self.crops, self.intervals = log, run, crops, intervals
        self.pending: list[training.StepMetrics] = []
        self.since = time.perf_counter()

    def due(self, number: int, interval: int) -> bool:
        return number % interval == 0 or number == self.run.training.steps

    def record(
        self, number: int, state: training.TrainState, metrics: training.StepMetrics, bar: tqdm
    ) -> None:
        self.pending.append(metrics)
        if self.due(number, self.intervals.log):
            self._log_means(number, bar)
        if self.due(number, self.intervals.validation):
            self._validate(number, state, bar)

    def _log_means(self, number: int, bar: tqdm) -> None:
        loss, bpp, mse, norm = np.mean(
            [[float(value[0]) for value in metrics] for metrics in self.pending], axis=0
        )
        if not math.isfinite(loss):
            raise RunError(f"the loss is {loss} at step {number}; the last checkpoint is kept")
        now = time.perf_counter()
        rate = len(self.pending) * self.run.training.batch_size / (now - self.since)
        self.pending, self.since = [], now
        stage = 1 if number <= self.run.training.stage1_steps else 2
        psnr = -10 * math.log10(mse)
        bar.set_postfix_str(
            f"stage {stage}, loss {loss:.3f}, {bpp:.3f} bpp, {psnr:.2f} dB, {rate:.1f} crops/s"
        )
        values = {"loss": loss, "bpp": bpp, "psnr": psnr, "gradient_norm": norm}
        self._write({"step": number, "stage": stage, **values, "crops_per_second": rate})

    def _validate(self, number: int, state: training.TrainState, bar: tqdm) -> None:
        ema = training.unreplicate(state.ema)
        result = training.validate(self.run.model, self.run.training, ema, self.crops)
        shares = " / ".join(f"{share:.0%}" for share in result.shares)
        bar.write(
            f"step {number}: validation loss {result.loss:.4f}, {result.bpp:.4f} bpp (estimate), "
            f"{result.psnr:.2f} dB, levels 16/32/64: {shares}"
        )
        self._write({"step": number, "validation": result._asdict()})
        self.since = time.perf_counter()

    def _write(self, values: dict[str, Any]) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps(values) + "\n")


def export(folder: Path, name: str, destination: Path) -> Path:
    """Writes the averaged weights of a run's newest checkpoint as one weights file.

    The file is named NAME-HASH.safetensors. Raises `RunError` when there is no run.
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
    start = run.training.start
    record = {
        "preset": run.preset,
        "training": dataclasses.asdict(run.training),
        "steps_done": int(state.step),
        "parameters": rdonet.parameter_count(state.ema),
        "validation": validations[-1] if validations else None,
        "jax": jax.__version__,
        "started_from": None if start in ("linear", "random") else zoo.load(start).record,
    }
    return zoo.save(destination, name, run.model, state.ema, record)
