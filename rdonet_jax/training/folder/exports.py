"""Weights files of a run: how they are made, and those that are written every few minutes."""

from __future__ import annotations

import dataclasses
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from rdonet_jax.models import registry, zoo
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.storage import files
from rdonet_jax.training.folder import run_log
from rdonet_jax.training.folder.run_dir import Run, RunError
from rdonet_jax.training.folder.run_log import LOG_FILE

FOLDER = "weights"
"""Below a run's folder, unless another folder is given."""

KEPT = 2
"""How many of the files that a run has written last are kept."""

LIST_FILE = "exported.txt"
"""In a run's folder: the names of the files that it has written last, one a line, in that order."""

_NAME = re.compile(r"step_(\d+)-[0-9a-f]+\.safetensors")


class ExportWarning(UserWarning):
    """The last weights could not be written, and another error has ended the run."""


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


def weights_files(folder: Path) -> list[Path]:
    """The files in a folder that `Exports` writes, of whatever run, that of the most steps last."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob(f"*{zoo.SUFFIX}")}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(steps, key=lambda path: (steps[path], path.stat().st_mtime_ns))


def require_writable(folder: Path) -> None:
    """Raises `RunError` for a folder that cannot be made, or that nothing can be written into."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is no folder"
        raise RunError(f"{folder}: no weights can be exported there: {there} {what}")


class Exports:
    """Writes packed weights every few minutes; a context manager that waits for the last file.

    A file is named step_STEP-HASH.safetensors and appears whole. They are written by a thread, so
    that the devices do not wait. An error in it is raised by the next call. Where another error
    ends the context, that of the last file is an `ExportWarning`.

    Of the files that the run has written into the folder, the last `KEPT` stay, and those of other
    runs are left alone. Files of earlier commands of the run count, which `LIST_FILE` names. So the
    files of steps that a resumed run does again stay until it has written as many new ones. A
    folder whose files are copied to a URL is empty when a command begins, unless it lies in that of
    the run. So there the files of earlier commands stay.

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

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._pool.shutdown()
        try:
            self.wait()
        except Exception as failure:
            if error is None:
                raise
            # What ended the run is the error to report, such as a loss that is not finite.
            warnings.warn(
                f"{self._folder}: the last weights could not be written ({failure})",
                ExportWarning,
                stacklevel=2,
            )

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
        saved = zoo.save(self._folder, f"step_{step}", self._run.model, params, stored, pack=True)
        name = Path(saved).name
        names = [*(before for before in self._written_before() if before != name), name]
        # Before others are removed: a file that is not listed would stay forever.
        self._list(names)
        for older in names[:-KEPT]:
            (self._folder / older).unlink(missing_ok=True)
        self._list(names[-KEPT:])

    def _list(self, names: Sequence[str]) -> None:
        content = "".join(f"{name}\n" for name in names).encode()
        files.replace(self._run_folder / LIST_FILE, lambda file: file.write(content))

    def _written_before(self) -> list[str]:
        """The names of the run's files that are in the folder, the one written last at the end."""
        path = self._run_folder / LIST_FILE
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [line for line in lines if _NAME.fullmatch(line) and (self._folder / line).exists()]
