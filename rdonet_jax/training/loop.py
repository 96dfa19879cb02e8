"""The loop of a training run: its steps, and validation, checkpoints and reports in between."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rdonet_jax.core.config import AnyConfig, ConfigError
from rdonet_jax.imaging.dataset import ImageDataset
from rdonet_jax.runtime import multihost
from rdonet_jax.training import divergence, sharding
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.batches import input_pipeline
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.folder.checkpoints import Checkpoints, Progress
from rdonet_jax.training.folder.exports import Exports
from rdonet_jax.training.monitor import Monitor
from rdonet_jax.training.schedule_tracker import ScheduleTracker
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state, validation

PREVIEWED = 4
"""The number of validation crops that TensorBoard shows."""


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often things happen, in steps; exports in minutes.

    Attributes:
      log: a line of means in the log, and on a terminal the bar.
      validation: the averaged weights on the validation images.
      checkpoint: a checkpoint, from which the run can go on.
      preview: images of validation crops for TensorBoard.
      export: minutes between two packed weights files of the averaged weights, of which the newest
        two are kept; 0 for none.
    """

    log: int = 50
    validation: int = 1000
    checkpoint: int = 500
    preview: int = 5000
    export: float = 0.0

    def __post_init__(self) -> None:
        for name in ("log", "validation", "checkpoint", "preview"):
            if (steps := getattr(self, name)) < 1:
                raise ConfigError(f"the {name} interval must be at least one step, not {steps}")
        if not 0 <= self.export < math.inf:
            raise ConfigError(f"the export interval is in minutes, 0 for none, not {self.export}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: its last state, and the signal that stopped it, if any."""

    state: train_state.TrainState
    stopped_by: str  # name of the signal; empty if all steps were done
    was_finished: bool = False  # whether all steps had been done before
    by_clock: bool = False  # whether it was a run of so many minutes
    passed: float = 1.0  # of a run that was not stopped: the share of the schedule


@dataclasses.dataclass(frozen=True)
class _Sent:
    """A step that was sent to the devices, and whose results have not been read yet."""

    number: int
    batch: training_crops.Batch  # with a device axis
    metrics: training_step.StepMetrics
    position: float  # in the schedule


@dataclasses.dataclass(frozen=True)
class LoopSetup:
    """What the loop of a run works with.

    Attributes:
      folder: that of the run.
      network_config: that of the network.
      config: of the training.
      intervals: how often things happen.
      images: those for training.
      crops: those for validation, float32 [N, crop, crop, 3].
      checkpoints: those of the run, open.
      tracker: says where the run is in its schedule.
      exports: what is exported every few minutes.
      shared: whether all hosts have the same `folder`.
    """

    folder: Path
    network_config: AnyConfig
    config: TrainingConfig
    intervals: Intervals
    images: ImageDataset
    crops: np.ndarray
    checkpoints: Checkpoints
    tracker: ScheduleTracker
    exports: Exports
    shared: bool = True


class Loop:
    """Runs the steps of a training run.

    The host reads the results of a step after it has sent the next one, so the devices do not wait
    for the host. A resumed run needs the state and the `Progress` of its checkpoint.
    """

    def __init__(self, setup: LoopSetup) -> None:
        self.setup = setup
        self.step = training_step.make_step(setup.network_config, setup.config)
        self.validate = validation.make(setup.network_config, setup.config, setup.crops)

    def run(
        self,
        state: train_state.TrainState,
        progress: Progress,
        resumed: bool,
        stop_request: Callable[[int], str],
    ) -> Outcome:
        """Trains from a state on the host to the end of the schedule, or to a signal.

        `stop_request`: see `multihost.stop_requests`.
        """
        setup, config = self.setup, self.setup.config
        pending = [training_step.StepValues(*values) for values in progress.pending]
        monitor = Monitor(
            setup.folder, config, progress.step, setup.intervals.log, pending, multihost.is_first()
        )
        with input_pipeline.open_batches(setup.images, config) as batches, monitor:
            batches.go_to(progress.reader)
            length = {"minutes": config.minutes} if config.minutes else {"steps": config.steps}
            facts = {**length, **run_dir.environment(config)}
            monitor.event(progress.step, "resumed" if resumed else "begun", **facts)
            monitor.say("compiling the first step, which can take minutes")
            state, stopped_by = self._steps(state, progress, batches, monitor, stop_request)
        by_clock = bool(config.minutes)
        passed = setup.tracker.recorded(progress).passed if by_clock else 1.0
        return Outcome(sharding.unreplicate(state), stopped_by, by_clock=by_clock, passed=passed)

    def _steps(
        self,
        state: train_state.TrainState,
        progress: Progress,
        batches: input_pipeline.BatchIterator,
        monitor: Monitor,
        stop_request: Callable[[int], str],
    ) -> tuple[train_state.TrainState, str]:
        tracker, exports = self.setup.tracker, self.setup.exports
        sent: deque[_Sent] = deque()
        state = sharding.replicate(state, self.setup.config.parallel)
        number, is_over = progress.step, False
        # The first step is compiled with it, which can take minutes and is not interrupted.
        stopped_by = stop_request(number)
        if self.setup.config.minutes and not stopped_by:
            self._rehearse_end(state, number, monitor)
            stopped_by = stop_request(number)
        while not is_over and not stopped_by:
            batch = next(batches)
            position = tracker.position(number)
            state, metrics = self.step(state, batch, np.float32(position))
            number += 1
            sent.append(_Sent(number, batch, metrics, position))
            stopped_by, is_over = stop_request(number), tracker.is_over(number)
            pausing = bool(stopped_by) or is_over or self._has_duties(number)
            while len(sent) > (0 if pausing else 1):
                is_last = is_over and len(sent) == 1
                self.process_metrics(sent.popleft(), state, monitor, batches, is_last)
            if pausing:
                progress = progress.replace(step=number, reader=batches.position)
                progress = self._pause(state, progress, monitor, is_over, bool(stopped_by))
            if multihost.is_first() and (is_over or stopped_by or exports.is_due()):
                exports.write(sharding.unreplicate(state.ema), number)
        if is_over:
            return state, ""
        monitor.event(number, event="stopped", by=stopped_by)
        return state, stopped_by

    def _rehearse_end(self, state: train_state.TrainState, number: int, monitor: Monitor) -> None:
        """Compiles and measures what a run by the clock must leave time for at its end."""
        tracker, exports = self.setup.tracker, self.setup.exports
        with monitor.paused("validation"):
            self.validate(state.ema)
            with tracker.measured("validation"):
                self.validate(state.ema)
            with tracker.measured("export"):
                exports.write(sharding.unreplicate(state.ema), number)
                exports.wait()

    def _has_duties(self, number: int) -> bool:
        """Whether something is due after a step that needs the step's state."""
        due = self.setup.intervals
        return any(number % steps == 0 for steps in (due.validation, due.checkpoint, due.preview))

    def process_metrics(
        self,
        sent: _Sent,
        state: train_state.TrainState,
        monitor: Monitor,
        batches: input_pipeline.BatchIterator,
        is_last: bool = False,
    ) -> None:
        """Reports a step. Raises `DivergenceError` if its loss or gradient is not finite."""
        setup = self.setup
        metrics = jax.tree_util.tree_map(lambda leaf: leaf[0].item(), jax.device_get(sent.metrics))
        if not metrics.healthy:
            failed = divergence.FailedStep(
                network_config=setup.network_config,
                config=setup.config,
                # Later steps change nothing, so this is the state before the failed one.
                state=sharding.unreplicate(state),
                batch=sharding.unsharded(sent.batch),
                source=batches.source,
                position=sent.position,
            )
            raise divergence.save_and_make_error(setup.folder, failed, setup.shared)
        monitor.step(sent.number, metrics.values, sent.position, is_last)
        if setup.tracker.ends_stage1(sent.number):
            monitor.event(sent.number, event="stage 2 begins", optimizer=setup.config.switch)

    def _pause(
        self,
        state: train_state.TrainState,
        progress: Progress,
        monitor: Monitor,
        is_over: bool,
        stopping: bool,
    ) -> Progress:
        """Does what is due between two steps: validation, preview, checkpoint."""
        setup, intervals = self.setup, self.setup.intervals
        number = progress.step
        progress = progress.replace(pending=tuple(map(tuple, monitor.pending)))
        with monitor.paused():
            improved = False
            if is_over or number % intervals.validation == 0:
                with monitor.paused("validation"):
                    result = self.validate(state.ema)
                improved = progress.improved(result.loss)
                if improved:
                    progress = progress.replace(best_loss=result.loss)
                monitor.validation(number, result, improved)
            # Compiling the preview could cost a run by the clock its end.
            is_shown = number % intervals.preview == 0 or (is_over and not setup.config.minutes)
            if is_shown and multihost.is_first() and not stopping:
                ema = sharding.unreplicate(state.ema)
                shown = validation.preview(setup.network_config, ema, setup.crops[:PREVIEWED])
                monitor.images(number, shown)
            progress = setup.tracker.recorded(progress)
            if stopping or is_over or improved or number % intervals.checkpoint == 0:
                self._save(state, progress, improved)
            multihost.wait_for_all(f"step {number}")
        return progress

    def _save(self, state: train_state.TrainState, progress: Progress, improved: bool) -> None:
        """Writes a checkpoint. Raises `DivergenceError` in place of one that is not usable."""
        held = sharding.unreplicate(state)
        _require_finite(held, progress.step)
        self.setup.checkpoints.save(held, progress, improved)


def _require_finite(state: train_state.TrainState, step: int) -> None:
    """Raises `DivergenceError` for a state that is not finite."""
    if not train_state.is_finite(state):
        raise divergence.DivergenceError(
            f"the state is not finite after step {step}; {divergence.KEPT}"
        )
