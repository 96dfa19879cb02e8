"""Reports a training run: progress on the screen, `log.jsonl`, and TensorBoard.

When a run is resumed from a checkpoint, the records of later steps are removed. So the log of a run
that was killed and resumed equals the log of an uninterrupted run.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdonet_jax import visualize
from rdonet_jax.core import decibels, partition
from rdonet_jax.training import masks
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import run_log
from rdonet_jax.training.folder.run_log import LOG_FILE
from rdonet_jax.training.steps.step import StepValues
from rdonet_jax.training.steps.validation import Preview, Validation

# A machine that trains may have few packages. What these show is in log.jsonl too, and a run says
# what it does without.
try:
    from tqdm import tqdm
except ModuleNotFoundError:
    tqdm = None  # lines are printed then, as without a terminal
try:
    from rdonet_jax.training.folder import event_file
except ModuleNotFoundError:
    event_file = None  # type: ignore[assignment] # no TensorBoard then

EVENTS_FOLDER = "tensorboard"

SHOWN_STEPS = 50  # the bar shows means over at most so many steps
SPEED_SECONDS = 30.0  # of computing, over which the speed on the screen is measured
BAR_FORMAT = "{n_fmt}/{total_fmt} {desc} {bar}"  # a narrow terminal cuts the end


class Monitor:
    """Shows and records a run from its first step to its last. A context manager.

    Entering it removes records of later steps, and opens the files and the progress bar. Leaving it
    closes them.

    Args:
      folder: the run's folder.
      config: has the number of steps and the crops per step.
      first_step: the number of steps done before. Records of later steps are removed.
      log_every: steps between two lines of the log. The last step has a line too.
      pending: the property `pending` at the time of the checkpoint, as tuples or lists, so that the
        next line of the log covers the same steps as in an uninterrupted run.
      visible: whether to print and to write files, which is False on all hosts but the first.

    Entering raises `run_log.LogError` for a damaged log. All methods that write raise OSError.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        first_step: int,
        log_every: int,
        pending: Sequence[StepValues] = (),
        visible: bool = True,
    ) -> None:
        self._folder, self._config, self._first_step = folder, config, first_step
        self._log_every, self._visible = log_every, visible
        self._steps = None if config.minutes else config.steps  # None where it is not known
        self._pending = [StepValues(*values) for values in pending]
        self._shown = collections.deque(self._pending, maxlen=min(log_every, SHOWN_STEPS))
        self._clock = _Clock()
        self._speed = _Speed(SPEED_SECONDS)
        self._last_line: tuple[int, float] | None = None  # step, and seconds of computing
        self._screen: _Bar | _Lines | None = None
        self._events: event_file.EventFile | None = None

    def __enter__(self) -> Monitor:
        if self._visible:
            run_log.forget_after(self._folder / LOG_FILE, self._first_step)
            if event_file:
                self._events = event_file.EventFile(
                    self._folder / EVENTS_FOLDER, self._first_step + 1
                )
            kind = _Bar if tqdm and sys.stderr.isatty() else _Lines
            self._screen = kind(self._first_step, self._steps)
            if not event_file:
                self.say(
                    "nothing is written for TensorBoard, since the package tensorboardX is not "
                    f"installed; {LOG_FILE} has the same numbers"
                )
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._screen, self._events):
            if opened:
                opened.close()

    @property
    def pending(self) -> tuple[StepValues, ...]:
        """The values since the last line of the log, which belong into a checkpoint."""
        return tuple(self._pending)

    def step(self, number: int, values: StepValues, position: float, is_last: bool = False) -> None:
        """Records a step. Steps must be given one by one, in order.

        `position` is that of the step in the schedule. The last step has a line of the log. In a
        run of so many steps, it is found by its number.
        """
        now = self._clock.now()
        self._speed.mark(number, now)
        self._pending.append(values)
        self._shown.append(values)
        is_due = number % self._log_every == 0 or is_last or number == self._steps
        if self._screen:
            means = _means(self._pending if is_due else self._shown)
            self._screen.step(number, self._progress(number, means, position), is_due)
        if is_due:
            self._write_means(number, now, position)

    def validation(self, number: int, result: Validation, best: bool) -> None:
        """Records a validation after step `number`. `best`: whether it is the best so far."""
        areas = " / ".join(f"{share:.0%}" for share in result.shares)
        self.say(
            f"step {number}: validation loss {result.loss:.4f}, {result.bpp:.4f} bpp (estimate), "
            f"{result.psnr:.2f} dB, levels 16/32/64: {areas}"
            + (", the best so far" if best else "")
        )
        values = {"loss": result.loss, "bpp": result.bpp, "psnr": result.psnr}
        self._write(
            {"step": number, "validation": {**values, "shares": result.shares}, "best": best}
        )
        for stride, share in zip(partition.STRIDES, result.shares, strict=True):
            values[f"share_{stride}"] = share
        self._write_scalars(number, "validation", values)

    def images(self, number: int, preview: Preview) -> None:
        """Adds validation images to TensorBoard: original, decoded, partition, map of bits."""
        if self._events is None:
            return
        with self.paused():
            self._events.images(number, {"preview/scale_of_bits": visualize.draw_bits_scale()})
            parts = (preview.x, preview.x_hat, preview.levels, preview.density)
            for i, arrays in enumerate(zip(*map(np.asarray, parts), strict=True)):
                drawn = {f"preview/{i}/{k}": v for k, v in _drawn(*arrays).items()}
                self._events.images(number, drawn)

    def event(self, number: int, event: str, **facts: Any) -> None:
        """Records an event after step `number`, such as a resumption.

        The log gets all facts, which must be JSON values. The screen shows numbers and strings.
        """
        shown = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
        listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
        self.say(f"step {number}: {event}" + (f" ({listed})" if listed else ""))
        self._write({"step": number, "event": event, **facts})

    @contextlib.contextmanager
    def paused(self, doing: str = "") -> Iterator[None]:
        """A context for work that belongs to no step. Its time does not count for the speed.

        `doing`: a text for the progress bar meanwhile. Pauses may be nested.
        """
        shown = self._screen.doing(doing) if self._screen and doing else contextlib.nullcontext()
        with self._clock.paused(), shown:
            yield

    def _write_means(self, number: int, now: float, position: float) -> None:
        means = _means(self._pending)
        stage = masks.stage_of(self._config, position)
        line: dict[str, Any] = {"step": number, "stage": stage}
        line |= {"loss": means.loss, "bpp": means.bpp, "psnr": decibels.psnr(means.mse)}
        line |= {"gradient_norm": means.gradient_norm, "learning_rate": means.learning_rate}
        if self._last_line:  # the time before the first line includes compilation
            step, then = self._last_line
            line["crops_per_second"] = (number - step) * self._config.batch_size / (now - then)
        self._pending, self._last_line = [], (number, now)
        self._write(line)
        self._write_scalars(number, "train", {k: v for k, v in line.items() if k != "step"})

    def _progress(self, number: int, means: StepValues, position: float) -> str:
        stage = masks.stage_of(self._config, position)
        parts = [f"stage {stage}", f"loss {means.loss:.3f}", f"{means.bpp:.3f} bpp"]
        parts.append(f"{decibels.psnr(means.mse):.2f} dB")
        if steps_per_second := self._speed.value():
            speed = steps_per_second * self._config.batch_size
            parts.append(f"{speed:.2f} crops/s" if speed < 10 else f"{speed:.0f} crops/s")
            if self._steps is not None:
                left = (self._steps - number) / steps_per_second
                parts.append(f"{_duration(left)} left")
        if self._steps is None:
            parts.append(f"{position / self._config.steps:.1%} of the schedule")
        return ", ".join(parts)

    def say(self, text: str) -> None:
        """Shows a line of text, on the first host."""
        if self._screen:
            self._screen.say(text)

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._visible:
            run_log.append(self._folder / LOG_FILE, entry)

    def _write_scalars(self, number: int, group: str, values: Mapping[str, float]) -> None:
        if self._events:
            self._events.scalars(number, {f"{group}/{name}": v for name, v in values.items()})


def _duration(seconds: float) -> str:
    """As MM:SS or H:MM:SS."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _means(values: Sequence[StepValues]) -> StepValues:
    means = np.asarray(np.mean(values, axis=0, dtype=np.float64))
    return StepValues(*means.tolist())


def _drawn(
    x: np.ndarray, x_hat: np.ndarray, levels: np.ndarray, density: np.ndarray
) -> dict[str, np.ndarray]:
    """The images that TensorBoard shows for one validation image, all of its size."""
    return {
        "input": x,
        "reconstruction": x_hat,
        "mask": visualize.draw_mask(x, levels),
        "bits": visualize.draw_bits(density, levels, x.shape[:2]),
    }


class _Clock:
    """A clock of the seconds of computing, without pauses."""

    def __init__(self) -> None:
        self._paused_since: float | None = None
        self._lost = 0.0

    def now(self) -> float:
        end = time.perf_counter() if self._paused_since is None else self._paused_since
        return end - self._lost

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        if self._paused_since is not None:
            yield
            return
        self._paused_since = time.perf_counter()
        try:
            yield
        finally:
            self._lost += time.perf_counter() - self._paused_since
            self._paused_since = None


class _Speed:
    """Steps per second over the last seconds of computing, over one step at least."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._marks: collections.deque[tuple[int, float]] = collections.deque()

    def mark(self, number: int, now: float) -> None:
        """Records the end of a step. The first one, which includes compilation, only starts it."""
        self._marks.append((number, now))
        while len(self._marks) > 2 and self._marks[1][1] <= now - self._seconds:
            self._marks.popleft()

    def value(self) -> float | None:
        if len(self._marks) < 2:
            return None
        (first, began), (last, ended) = self._marks[0], self._marks[-1]
        return (last - first) / (ended - began) if ended > began else None


class _Bar:
    """Output on a terminal: a progress bar, and messages above it."""

    def __init__(self, first_step: int, steps: int | None) -> None:
        self._bar = tqdm(
            desc="compiling the first step", total=steps, initial=first_step, file=sys.stderr,
            bar_format=BAR_FORMAT, dynamic_ncols=True, miniters=1, mininterval=0.2,
        )  # fmt: skip

    def step(self, number: int, progress: str, is_due: bool) -> None:
        self._bar.set_description_str(progress, refresh=False)
        self._bar.update(number - self._bar.n)

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        progress = self._bar.desc
        self._bar.set_description_str(what)
        try:
            yield
        finally:
            self._bar.set_description_str(progress, refresh=False)

    def say(self, text: str) -> None:
        self._bar.write(text, file=self._bar.fp)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """Output without a terminal: one line for each line of `log.jsonl`."""

    def __init__(self, first_step: int, steps: int | None) -> None:
        self._of = "" if steps is None else f"/{steps}"

    def step(self, number: int, progress: str, is_due: bool) -> None:
        if is_due:
            self.say(f"step {number}{self._of}: {progress}")

    def doing(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass
