"""Checkpoints of a run: the newest ones, and the one with the least validation loss.

A checkpoint holds the state as arrays without a device axis, and the progress of the run as JSON.
So it can be restored on any number of devices and hosts. With several hosts all of them must save
and restore together, in a folder that they share.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import logging
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rdonet_jax.core import messages
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.steps.train_state import TrainState, state_of

LAST = "checkpoints"
BEST = "best"
KEPT = 2
"""The number of newest checkpoints that are kept: one is complete while the next is written."""


UNFINISHED = "*.orbax-checkpoint-tmp*"
"""Pattern of the folder of a checkpoint that is being written."""

_PATTERN = re.compile(r"[*?\\]|\[[^/]*\]")
"""What Orbax takes for a pattern in the path of its own folder, or cannot read back."""


class CheckpointError(RuntimeError):
    """A checkpoint does not exist, or cannot be read or written."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is stored of a run beside its state."""

    step: int
    switched_at: int | None  # steps done when stage 2 began; None before
    reader: Mapping[str, Any]  # position of the crops, of `input_pipeline`
    pending: tuple[tuple[float, ...], ...] = ()  # values of the steps since the last log line
    best_loss: float | None = None  # least validation loss so far
    passed: float = 0.0  # share of the schedule that has passed, in a run by the clock
    left: float | None = None  # seconds that it has left

    def replace(self, **changes: Any) -> Progress:
        return dataclasses.replace(self, **changes)

    def improved(self, loss: float) -> bool:
        """Whether a validation loss is the least so far."""
        return loss < (math.inf if self.best_loss is None else self.best_loss)


class Checkpoints:
    """The checkpoints below a run's folder. A context manager that waits for the last write.

    Checkpoints are written in the background, one at a time, since the barriers between hosts of
    two writes could get mixed up. All methods raise `CheckpointError` if a write has failed, also
    an earlier one. With `read_only`, nothing in the folder is created or removed. Without `shared`,
    every host has a folder of its own, in which the first one writes and all others only read.
    """

    def __init__(self, folder: Path, read_only: bool = False, shared: bool = True) -> None:
        self._folder, self._read_only = folder, read_only
        self._writes = shared or jax.process_index() == 0
        self._last = _manager(folder / LAST, KEPT, read_only, shared)
        self._best = _manager(folder / BEST, 1, read_only, shared)

    def __enter__(self) -> Checkpoints:
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_quiet())
        return self

    def __exit__(self, *_: object) -> None:
        with self._quiet, contextlib.ExitStack() as stack:
            for manager in filter(None, (self._last, self._best)):
                if not self._read_only:
                    # After a failure, another part of the checkpoint may have been written still.
                    stack.callback(_remove_unfinished, manager)
                stack.enter_context(wrap_errors(manager))
                stack.callback(manager.close)

    def latest_step(self) -> int | None:
        return self._last.latest_step()

    def save(self, state: TrainState, progress: Progress, best: bool = False) -> None:
        """Writes an unreplicated state in the background, also as the best one if it is.

        A best one of this step or a later one is replaced: a run that went back to an earlier
        checkpoint does these steps again.
        """
        if not self._writes:
            return
        if best:
            # First, since the newest checkpoint refers to the best one.
            self._remove_best_from(progress.step)
            self._write(self._best, state, progress)
        self._write(self._last, state, progress)

    def _remove_best_from(self, step: int) -> None:
        """Removes the best checkpoints of this step and of later ones: Orbax writes none before.

        That is not done when the run goes back, since one of a later step is the best until then.
        All hosts know of the same checkpoints, since none is written before all have looked.
        """
        self.wait()
        with wrap_errors(self._best):
            for later in [found for found in self._best.all_steps() if found >= step]:
                self._best.delete(later)

    def wait(self) -> None:
        """Waits until everything is on disk."""
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
            if not manager.save(progress.step, args=args):
                raise CheckpointError(f"step {progress.step} is not after the newest one")

    def restore(
        self, network_config: AnyConfig, config: TrainingConfig, best: bool = False
    ) -> tuple[TrainState, Progress]:
        """The newest or the best checkpoint, as arrays on the host.

        Raises `CheckpointError` if there is none, or if it cannot be read.
        """
        manager = self._best if best else self._last
        steps = manager.all_steps() if manager else []
        if not steps:
            directory = (self._folder / (BEST if best else LAST)).absolute()
            raise CheckpointError(f"{directory}: there is no checkpoint")
        step = max(steps)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(_template(network_config, config)),
            progress=ocp.args.JsonRestore(),
        )
        try:
            restored = manager.restore(step, args=args)
            values = dict(restored["progress"])
            values["pending"] = tuple(map(tuple, values["pending"]))
            return TrainState(**restored["state"]), Progress(**values)
        except Exception as error:  # Orbax and its libraries raise many kinds
            complaint = f"{manager.directory / str(step)}: this checkpoint cannot be read"
            if len(steps) > 1:
                complaint += f"; without it the run goes on from step {sorted(steps)[-2]}"
            raise CheckpointError(complaint) from error


def save_alone(directory: Path, state: TrainState, shared: bool = True) -> None:
    """Writes an unreplicated state as a single checkpoint. Raises `CheckpointError`.

    All hosts must call it. `shared` is as in `Checkpoints`.
    """
    if not (shared or jax.process_index() == 0):
        return
    hosts = {} if shared else {"multiprocessing_options": _this_host()}
    try:
        with _quiet(), ocp.StandardCheckpointer(**hosts) as checkpointer:
            checkpointer.save(directory.absolute(), _arrays(state))
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{directory}: could not be written ({cause(error)})") from error


def objection(folder: Path) -> str:
    """Why checkpoints below a folder could not be read, in one sentence; empty if they can.

    Orbax looks for its own files by patterns, in which it does not escape the folder's path.
    """
    path = folder.absolute().as_posix()
    if (found := _PATTERN.search(path)) is None:
        return ""
    return (
        f"{path}: checkpoints in such a folder could not be read; choose one without {found[0]} in "
        "its path"
    )


def newest_step(folder: Path) -> int | None:
    """The number of steps of the newest checkpoint below a run's folder; None if there is none."""
    last = folder / LAST
    names = [path.name for path in last.iterdir()] if last.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=None)


@contextlib.contextmanager
def wrap_errors(manager: ocp.CheckpointManager) -> Iterator[None]:
    """A context that turns errors of writing into a `CheckpointError` and removes partial files."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        _remove_unfinished(manager)
        step = manager.latest_step()
        kept = "there is no earlier one" if step is None else f"that of step {step} is kept"
        raise CheckpointError(
            f"{manager.directory}: a checkpoint could not be written ({cause(error)}); {kept}"
        ) from error


def _remove_unfinished(manager: ocp.CheckpointManager) -> None:
    if jax.process_index() == 0:
        for part in Path(manager.directory).glob(UNFINISHED):
            shutil.rmtree(part, ignore_errors=True)


def cause(error: Exception) -> str:
    """The cause of an error: the system's message if there is one, else the first line."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if os.strerror(number) in str(error):
            return os.strerror(number)
    return messages.first_line(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A context that silences Orbax and TensorStore about errors that become a `CheckpointError`.

    A single failed write would print hundreds of lines: every thread logs a traceback, and pending
    writes complain of a closed event loop.
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
    except BaseException:
        gc.collect()  # or what a failed write has left would complain later
        raise
    finally:
        sys.unraisablehook = usual
        log.removeFilter(is_news)


def _this_host() -> ocp.options.MultiprocessingOptions:
    """For checkpoints that a host reads and writes without the others."""
    host = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=host, active_processes={host}, barrier_sync_key_prefix=f"host-{host}"
    )


def _manager(
    directory: Path, keep: int, read_only: bool, shared: bool
) -> ocp.CheckpointManager | None:
    """A manager of checkpoints; None for a missing folder to read, which Orbax 0.11 refuses."""
    if read_only and not directory.exists():
        return None
    if not read_only:
        directory.mkdir(parents=True, exist_ok=True)
    # Orbax makes no folder for some of the hosts alone.
    hosts = {} if shared else {"create": False, "multiprocessing_options": _this_host()}
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
        **{"create": not read_only, **hosts},
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def _arrays(state: TrainState) -> dict[str, Any]:
    return jax.tree_util.tree_map(np.asarray, state._asdict())


def _template(network_config: AnyConfig, config: TrainingConfig) -> dict[str, Any]:
    """Empty NumPy arrays of the state's shapes and types, so that it is restored to the host."""
    shapes = jax.eval_shape(
        lambda: state_of(
            network_config, config, registry.init_params(network_config, jax.random.key(0))
        )
    )
    return jax.tree_util.tree_map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)._asdict()
