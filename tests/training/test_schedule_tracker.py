"""The schedule by steps and by the clock."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdonet_jax.core import presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import multihost
from rdonet_jax.training import masks, schedule_tracker
from rdonet_jax.training.config import CHOICES, RunLength, TrainingConfig
from rdonet_jax.training.folder.checkpoints import Progress
from rdonet_jax.training.optimizers import optimizer

BEFORE = Progress(step=0, switched_at=None, reader={})
CONFIG = TrainingConfig(stage1_steps=100, stage2_steps=300, minutes=10, warmup_steps=40)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Taken:
    """What a run by a fake clock did: positions, and when it ended, in seconds from its begin."""

    def __init__(
        self,
        progress: Progress = BEFORE,
        length: RunLength | None = None,
        preparing: float = 20.0,
        compiling: float = 60.0,
        step: float = 0.5,
        end: float = 0.0,
        stop_after: float = 1e9,
    ) -> None:
        clock = Clock()
        began = clock.seconds
        clock.seconds += preparing
        self.tracker = schedule_tracker.of_run(
            CONFIG, length or RunLength(), progress, began, clock, 2.0
        )
        with self.tracker.measured("validation"):
            clock.seconds += end
        self.positions: list[float] = []
        self.switched: list[int] = []
        number, over = progress.step, False
        while not over and clock.seconds - began < stop_after:
            self.positions.append(self.tracker.position(number))
            clock.seconds += step if len(self.positions) > 1 else compiling
            number += 1
            over = self.tracker.is_over(number)
            if self.tracker.ends_stage1(number):
                self.switched.append(number)
        clock.seconds += end
        self.ended, self.over = clock.seconds - began, over
        self.progress = self.tracker.recorded(progress.replace(step=number))


@pytest.mark.parametrize("step", [0.05, 0.5, 7.0])
@pytest.mark.parametrize("compiling", [1.0, 60.0, 200.0])
def test_the_schedule_goes_from_its_start_to_its_end_whatever_the_speed(step, compiling):
    run = Taken(step=step, compiling=compiling)
    assert run.positions[:2] == [0.0, 0.0]
    assert np.all(np.diff(run.positions) >= 0)
    trained = 600 - 20 - compiling
    # The last step lies within what a few steps and the margin take of the schedule.
    assert run.positions[-1] > CONFIG.steps * (1 - 4 * step / trained - 0.02)
    assert run.positions[-1] < CONFIG.steps
    # The clock is even: half of the time is half of the schedule.
    half = run.positions[len(run.positions) // 2]
    assert half == pytest.approx(CONFIG.steps / 2, rel=0.1)
    warm = np.mean(np.array(run.positions) < CONFIG.warmup_steps)
    assert warm == pytest.approx(CONFIG.warmup_steps / CONFIG.steps, abs=0.03 + 3 * step / trained)


@pytest.mark.parametrize("end", [0.0, 15.0, 100.0])
@pytest.mark.parametrize("step", [0.05, 7.0])
def test_a_run_ends_in_time_with_all_that_is_done_at_its_end(end, step):
    run = Taken(end=end, step=step)
    assert run.over
    assert 600 - 60 - end <= run.ended <= 600
    assert run.progress.passed == 1 and schedule_tracker.is_finished(CONFIG, run.progress)


def test_a_run_whose_compilation_takes_all_of_its_time_does_one_step():
    run = Taken(compiling=700)
    assert run.positions == [0.0] and run.over
    # It can go on with more minutes.
    assert run.progress.passed == 0 and not schedule_tracker.is_finished(CONFIG, run.progress)
    further = Taken(run.progress, RunLength(more_minutes=5.0))
    assert further.progress.passed == 1 and further.positions[-1] > 0.9 * CONFIG.steps


def test_stage_2_begins_once_at_its_share_of_the_time():
    run = Taken()
    (switched,) = run.switched
    stages = [masks.stage_of(CONFIG, position) for position in run.positions]
    assert stages.index(2) == switched - 1 or stages.index(2) == switched
    assert stages.index(2) / len(stages) == pytest.approx(1 / 4, abs=0.01)
    assert run.progress.switched_at == stages.index(2)


def test_a_run_that_was_cut_off_goes_on_with_the_time_that_was_left():
    first = Taken(stop_after=300)
    assert not first.over and first.progress.left == pytest.approx(300, abs=1)
    second = Taken(first.progress)
    assert second.over and second.ended <= 300
    assert second.positions[0] == second.positions[1] == first.positions[-1]
    assert second.positions[-1] > 0.97 * CONFIG.steps
    assert not second.switched  # stage 2 had begun before


def test_a_run_that_was_cut_off_can_have_more_minutes():
    first = Taken(stop_after=300)
    second = Taken(first.progress, RunLength(more_minutes=8))
    assert 460 < second.ended <= 480
    assert second.positions[-1] > 0.97 * CONFIG.steps


def test_the_position_in_a_run_of_steps_is_the_number_of_steps_done():
    config = TrainingConfig(stage1_steps=3, stage2_steps=2)
    by_steps = schedule_tracker.of_run(config, RunLength(), BEFORE, 0.0, Clock(), 0.0)
    assert [by_steps.position(n) for n in range(5)] == [0, 1, 2, 3, 4]
    assert [by_steps.is_over(n) for n in range(1, 6)] == [False] * 4 + [True]
    assert [n for n in range(1, 6) if by_steps.ends_stage1(n)] == [3]
    switched = [by_steps.recorded(BEFORE.replace(step=n)).switched_at for n in (3, 4)]
    assert switched == [None, 3]


@pytest.mark.parametrize("schedule", CHOICES["schedule"])
@pytest.mark.parametrize("switch", CHOICES["switch"])
def test_updates_of_a_run_of_steps_are_bit_for_bit_those_of_the_optimizer_that_counts_by_itself(
    schedule, switch
):
    config = TrainingConfig(stage1_steps=12, stage2_steps=9, warmup_steps=4, schedule=schedule,
                            switch=switch, prior_rate=3.0)  # fmt: skip
    params = {"units_0": {"prior": {"first": jnp.ones(3)}, "encoder": jnp.ones(2)}}
    of_prior = functools.partial(optimizer.prior_mask, presets.mini())
    adam = optax.scale_by_adam()
    if switch == "restart":
        adam = optimizer.restarted_at(adam, config.stage1_steps)
    counting = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        adam,
        optax.scale_by_learning_rate(optimizer.learning_rate(config)),
        optax.masked(optax.scale(config.prior_rate), of_prior),
    )
    by_place = optimizer.make(presets.mini(), config)
    states = [made.init(params) for made in (counting, by_place)]
    for step in range(config.steps):
        gradients = {"units_0": {"prior": {"first": jnp.full(3, 0.1 * step)},
                                 "encoder": jnp.full(2, -0.3)}}  # fmt: skip
        expected, states[0] = counting.update(gradients, states[0], params)
        found, states[1] = by_place.update(gradients, states[1], params, position=np.float32(step))
        for ours, theirs in zip(*map(leaves, (found, expected)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert str(states[0]) == str(states[1])  # so checkpoints of either fit the other


def leaves(tree: dict) -> list:
    return [tree["units_0"]["prior"]["first"], tree["units_0"]["encoder"]]


def test_several_hosts_are_refused_a_run_by_the_clock(monkeypatch):
    schedule_tracker.require_minutes_possible(CONFIG, RunLength(), resume=False)
    monkeypatch.setattr(multihost, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="for one host"):
        schedule_tracker.require_minutes_possible(CONFIG, RunLength(), resume=False)
    schedule_tracker.require_minutes_possible(TrainingConfig(), RunLength(), resume=False)


@pytest.mark.parametrize(("minutes", "resume"), [(10, False), (0, True)])
def test_more_minutes_are_for_resuming_a_run_by_the_clock(minutes, resume):
    config = TrainingConfig(minutes=minutes)
    with pytest.raises(ConfigError, match="more_minutes is for resuming"):
        schedule_tracker.require_minutes_possible(config, RunLength(more_minutes=3), resume)


def test_a_run_by_the_clock_cannot_restart_adam_at_a_step():
    with pytest.raises(ConfigError, match="'restart' counts steps"):
        TrainingConfig(minutes=1, switch="restart")
    with pytest.raises(ConfigError, match="minutes must be finite"):
        TrainingConfig(minutes=float("inf"))
