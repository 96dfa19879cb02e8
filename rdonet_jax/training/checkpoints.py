"""Checkpoints of a run: the newest ones, and the one that validated best.

A checkpoint holds the state as plain arrays, without a device axis, and the run's progress as
JSON. So it restores onto any number of devices and hosts. With several hosts all must save and
restore together, and the folder must be one that all of them see.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.step import TrainState, state_of

LAST = "checkpoints"
BEST = "best"
KEPT = 2
"""Of the newest checkpoints, so many stay: one is whole while the next is written."""


UNFINISHED = "*.orbax-checkpoint-tmp*"
"""The folder of a checkpoint while it is written."""


class CheckpointError(RuntimeError):
    """A checkpoint that is not there, or cannot be read or written."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands, beside its state."""

    step: int
    switched_at: int | None  # steps done when stage 2 began; None before
    reader: Mapping[str, Any]  # position in the crops, the reader's own words
    pending: tuple[tuple[float, ...], ...] = ()  # values of the steps since the last log line
    best_loss: float | None = None  # least validation loss so far

    def improved(self, loss: float) -> bool:
        """Whether a validation loss is the least so far."""
        return loss < (math.inf if self.best_loss is None else self.best_loss)


class Checkpoints:
    """The checkpoints below a run's folder; a context manager that waits for the last write.

    Writes go on in the background, one at a time: two would mix up where several hosts wait for
    each other. All methods raise `CheckpointError` when one has failed, be it an earlier one.
    With `read_only`, nothing is made or removed in the folder.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self._folder = folder
        self._last = _manager(folder / LAST, KEPT, read_only)
        self._best = _manager(folder / BEST, 1, read_only)

    def __enter__(self) -> Checkpoints:
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_quiet())
        return self

    def __exit__(self, *_: object) -> None:
        with self._quiet, contextlib.ExitStack() as stack:
            for manager in filter(None, (self._last, self._best)):
                stack.enter_context(wrap_errors(manager))
                stack.callback(manager.close)

    def latest_step(self) -> int | None:
        return self._last.latest_step()

    def save(self, state: TrainState, progress: Progress, best: bool = False) -> None:
        """Writes an unreplicated state in the background, if it is the best one in both places."""
        if best:
            # First: the newest one says that it is there.
            self._write(self._best, state, progress)
        self._write(self._last, state, progress)

    def wait(self) -> None:
        """Returns when everything is on disk."""
        for manager in (self._best, self._last):
            with wrap_errors(manager):
                manager.wait_until_finished()
                manager.check_for_errors()

    def _write(self, manager: ocp.CheckpointManager, state: TrainState, progress: Progress) -> None:
        self.wait()
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_arrays(state)),
            progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
        )
        with wrap_errors(manager):
            manager.save(progress.step, args=args)

    def restore(
        self, model: AnyConfig, config: TrainingConfig, best: bool = False
    ) -> tuple[TrainState, Progress]:
        """The newest checkpoint or the best one, on the host.

        Raises `CheckpointError` when there is none, or it cannot be read.
        """
        manager = self._best if best else self._last
        steps = manager.all_steps() if manager else []
        if not steps:
            directory = (self._folder / (BEST if best else LAST)).absolute()
            raise CheckpointError(f"{directory}: there is no checkpoint")
        step = max(steps)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(_template(model, config)),
            progress=ocp.args.JsonRestore(),
        )
        try:
            restored = manager.restore(step, args=args)
            values = dict(restored["progress"])
            values["pending"] = tuple(map(tuple, values["pending"]))
            return TrainState(**restored["state"]), Progress(**values)
        except Exception as error:  # Orbax and what it stands on raise many kinds
            complaint = f"{manager.directory / str(step)}: this checkpoint cannot be read"
            if len(steps) > 1:
                complaint += f"; without it the run goes on from step {sorted(steps)[-2]}"
            raise CheckpointError(complaint) from error


def save_alone(directory: Path, state: TrainState) -> None:
    """Writes an unreplicated state as a checkpoint of its own. Raises `CheckpointError`."""
    try:
        with _quiet(), ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(directory.absolute(), _arrays(state))
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{directory}: could not be written ({_cause(error)})") from error


def newest_step(folder: Path) -> int | None:
    """The steps done at the newest checkpoint of a run's folder; None if there is none."""
    last = folder / LAST
    names = [path.name for path in last.iterdir()] if last.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=None)


@contextlib.contextmanager
def wrap_errors(manager: ocp.CheckpointManager) -> Iterator[None]:
    """What goes wrong when a checkpoint is written, as one sentence; its parts are removed."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if jax.process_index() == 0:
            for part in Path(manager.directory).glob(UNFINISHED):
                shutil.rmtree(part, ignore_errors=True)
        step = manager.latest_step()
        kept = "there is no earlier one" if step is None else f"that of step {step} is kept"
        raise CheckpointError(
            f"{manager.directory}: a checkpoint could not be written ({_cause(error)}); {kept}"
        ) from error


def _cause(error: Exception) -> str:
    """What the system complained of, where that can be told; else the first line."""
    text = str(error).strip()
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:
            return os.strerror(number)
    return (text.splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax and TensorStore from printing what ends in a `CheckpointError` anyway.

    For one write that fails they print hundreds of lines: every thread logs its own traceback, and
    what is still to be written finds the event loop of its thread closed.
    """

    def hook(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            usual(unraisable)

    def is_news(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    usual, log = sys.unraisablehook, logging.getLogger("absl")
    log.addFilter(is_news)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual
        log.removeFilter(is_news)


def _manager(directory: Path, keep: int, read_only: bool) -> ocp.CheckpointManager | None:
    """None for a folder to read that is not there, which Orbax 0.11 refuses."""
    if read_only and not directory.exists():
        return None
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=not read_only,
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def _arrays(state: TrainState) -> dict[str, Any]:
    return jax.tree_util.tree_map(np.asarray, state._asdict())


def _template(model: AnyConfig, config: TrainingConfig) -> dict[str, Any]:
    """Shapes and types of the state, as NumPy arrays: so it is restored to the host."""
    shapes = jax.eval_shape(
        lambda: state_of(config, registry.init_params(model, jax.random.key(0)))
    )
    return jax.tree_util.tree_map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)._asdict()
