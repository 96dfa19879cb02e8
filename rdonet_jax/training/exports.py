"""Weights files of a run: how they are made, and those that are written every few minutes."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from rdonet_jax.models import registry, zoo
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.training import run_log
from rdonet_jax.training.run_dir import Run
from rdonet_jax.training.run_log import LOG_FILE

FOLDER = "weights"
"""Below a run's folder, unless another folder is given."""

KEPT = 2
"""How many of the newest files are kept."""

_NAME = re.compile(r"step_(\d+)-[0-9a-f]+\.safetensors")


def record(folder: Path, run: Run, params: Any, step: int) -> TrainingRecord:
    """The record of a run in its weights file after so many steps. `folder` is the run's."""
    return TrainingRecord.new(
        preset=run.preset,
        training=dataclasses.asdict(run.training),
        steps_done=step,
        parameters=registry.parameter_count(params),
        validation=_last_validation(folder / LOG_FILE, step),
        jax=jax.__version__,
        origin=dataclasses.asdict(run.origin) if run.origin else None,
    )


def _last_validation(log: Path, step: int) -> Mapping[str, Any] | None:
    """The newest validation up to a step."""
    lines = run_log.read(log)
    found = [line["validation"] for line in lines if "validation" in line and line["step"] <= step]
    return found[-1] if found else None


def written(folder: Path) -> list[Path]:
    """The files that `Exports` has left in a folder, the newest one last."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob(f"*{zoo.SUFFIX}")}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(steps, key=lambda path: (steps[path], path.stat().st_mtime_ns))


class Exports:
    """Writes packed weights every few minutes; a context manager that waits for the last file.

    A file is named step_STEP-HASH.safetensors and appears whole. Only the newest `KEPT` stay. They
    are written by a thread, so that the devices do not wait. An error in it is raised by the next
    call.

    Args:
      folder: of the files.
      run_folder, run: the run and its folder, for the record in the files.
      minutes: between two files; 0 for none at all.
    """

    def __init__(
        self,
        folder: Path,
        run_folder: Path,
        run: Run,
        minutes: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._run_folder, self._run = folder, run_folder, run
        self._seconds, self._now = 60 * minutes, now
        self._last = now()
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def __enter__(self) -> Exports:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self.wait()

    @property
    def is_on(self) -> bool:
        return self._seconds > 0

    def is_due(self) -> bool:
        """Whether it is time for the next file."""
        return self.is_on and self._now() - self._last >= self._seconds

    def write(self, params: Any, step: int) -> None:
        """Begins to write averaged parameters, as arrays on the host. Does nothing if there are to
        be no files. Raises `ZooError` and OSError of the file before."""
        if self.is_on:
            self.wait()
            self._last = self._now()
            self._pending = self._pool.submit(self._save, params, step)

    def wait(self) -> None:
        """Waits until the file is written. Raises as `write` does."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _save(self, params: Any, step: int) -> None:
        stored = record(self._run_folder, self._run, params, step).stored
        zoo.save(self._folder, f"step_{step}", self._run.model, params, stored, pack=True)
        for path in written(self._folder)[:-KEPT]:
            path.unlink()
