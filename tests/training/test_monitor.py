"""What a training run shows and records, and that a resumed run has the same records."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from rdonet_jax import visualize
from rdonet_jax.training import config as training_config
from rdonet_jax.training import monitor
from rdonet_jax.training.folder import run_log
from rdonet_jax.training.monitor import Monitor
from rdonet_jax.training.steps.step import StepValues
from rdonet_jax.training.steps.validation import Preview, Validation
from tests.conftest import ROOT

SCHEDULE = training_config.TrainingConfig(stage1_steps=7, stage2_steps=6, batch_size=4)
VALIDATION = Validation(loss=1.25, bpp=0.5, psnr=30.5, shares=(0.25, 0.25, 0.5))


def crc_of_byte(crc):
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # Castagnoli's polynomial
    return crc


CRC_TABLE = [crc_of_byte(byte) for byte in range(256)]


class Clock:
    """Replaces the module `time`, with a clock that the test moves."""

    time = staticmethod(time.time)

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(monitor, "time", clock)
    return clock


def values_of(step):
    draw = random.Random(step)
    return StepValues(*(draw.uniform(0.001, 1) for _ in StepValues._fields))


def take_steps(watched, first, last):
    for number in range(first + 1, last + 1):
        watched.step(number, values_of(number), number - 1)


def record(folder, first, last, log_every=5, pending=(), **options):
    """Watches the steps after `first`; what a checkpoint of the last one must hold."""
    with Monitor(folder, SCHEDULE, first, log_every, pending, **options) as watched:
        take_steps(watched, first, last)
        return json.loads(json.dumps(watched.pending))


def lines_of(folder, without=("crops_per_second",)):
    lines = run_log.read(folder / monitor.LOG_FILE)
    return [{k: v for k, v in line.items() if k not in without} for line in lines]


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[crc & 255 ^ byte]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records_of(path):
    """The records of a TFRecord file: length, its checksum, data, their checksum."""
    file = io.BytesIO(path.read_bytes())
    while header := file.read(8):
        assert struct.unpack("<I", file.read(4))[0] == masked_crc(header)
        data = file.read(struct.unpack("<Q", header)[0])
        assert struct.unpack("<I", file.read(4))[0] == masked_crc(data)
        yield Event.FromString(data)


def shown_on_tensorboard(folder):
    """(step, value) in order, as TensorBoard reads it: a start at a step hides what was there."""
    shown = []
    for path in sorted((folder / monitor.EVENTS_FOLDER).iterdir()):
        events = list(records_of(path))
        assert events[0].file_version == "brain.Event:2" and "tfevents" in path.name
        for event in events:
            if event.session_log.status == SessionLog.START:
                shown = [(step, value) for step, value in shown if step < event.step]
            shown += [(event.step, value) for value in event.summary.value]
    return shown


def scalars_of(folder):
    shown = shown_on_tensorboard(folder)
    return {(step, v.tag): v.simple_value for step, v in shown if v.HasField("simple_value")}


def images_of(folder):
    encoded = {(s, v.tag): v.image for s, v in shown_on_tensorboard(folder) if v.HasField("image")}
    return {
        key: np.array(Image.open(io.BytesIO(image.encoded_image_string)))
        for key, image in encoded.items()
    }


def preview(count=2, height=64, width=128):
    draw = np.random.default_rng(0)
    levels = np.zeros((count, height // 16, width // 16), np.uint8)
    levels[:, :, :4] = 2
    x = np.repeat(draw.integers(0, 256, (count, height, 1, 3), np.uint8), width, axis=2)
    return Preview(
        x=x,
        x_hat=x[:, ::-1],
        levels=levels,
        density=draw.uniform(0, 4, levels.shape).astype(np.float32),
    )


@settings(max_examples=15, deadline=None)
@given(log_every=st.integers(1, 15))
def test_a_line_of_the_log_holds_the_means_of_its_steps(tmp_path_factory, log_every):
    folder = tmp_path_factory.mktemp("run")
    record(folder, 0, 13, log_every)
    expected = sorted({*range(log_every, 14, log_every), 13})
    lines = lines_of(folder)
    assert [line["step"] for line in lines] == expected
    for before, line in zip([0, *expected], lines, strict=False):
        steps = [values_of(step) for step in range(before + 1, line["step"] + 1)]
        loss, bpp, mse, norm, rate = (
            sum(column) / len(steps) for column in zip(*steps, strict=True)
        )
        wanted = {"step": line["step"], "stage": 1 if line["step"] <= 7 else 2}
        wanted |= {"loss": loss, "bpp": bpp, "psnr": 10 * math.log10(1 / mse)}
        wanted |= {"gradient_norm": norm, "learning_rate": rate}
        assert line == pytest.approx(wanted, rel=1e-12)


def test_speed_counts_neither_compilation_nor_pauses(tmp_path, clock):
    with Monitor(tmp_path, SCHEDULE, 0, 4) as watched:
        for number in range(1, 14):
            clock.now += 100 if number == 1 else 0.5
            watched.step(number, values_of(number), number - 1)
            with watched.paused():
                clock.now += 7
                with watched.paused("validation"):
                    clock.now += 11
                clock.now += 13
    speeds = [line.get("crops_per_second") for line in run_log.read(tmp_path / monitor.LOG_FILE)]
    assert speeds == [None, *[pytest.approx(4 / 0.5)] * 3]


@settings(max_examples=30, deadline=None)
@given(
    checkpoint=st.integers(0, 12),
    more=st.integers(0, 12),
    log_every=st.integers(1, 14),
    torn=st.integers(0, 30),
)
def test_a_killed_and_resumed_run_leaves_the_log_of_an_uninterrupted_one(
    tmp_path_factory, checkpoint, more, log_every, torn
):
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]
    record(folders[0], 0, 13, log_every)
    pending = record(folders[1], 0, checkpoint, log_every)
    killed = min(checkpoint + more, 13)
    record(folders[1], checkpoint, killed, log_every, pending)
    log = folders[1] / monitor.LOG_FILE
    with log.open("ab") as file:
        file.write(b'{"step": 13, "stage": 2, "loss": 1'[:torn])
    assert record(folders[1], checkpoint, 13, log_every, pending) == []
    whole, resumed = (lines_of(folder) for folder in folders)
    assert resumed == whole
    whole, resumed = (scalars_of(folder) for folder in folders)
    speeds = {key for key in whole | resumed if key[1] == "train/crops_per_second"}
    assert {k: v for k, v in resumed.items() if k not in speeds} == {
        k: v for k, v in whole.items() if k not in speeds
    }


def test_every_line_is_on_tensorboard(tmp_path):
    record(tmp_path, 0, 13)
    scalars = scalars_of(tmp_path)
    lines = run_log.read(tmp_path / monitor.LOG_FILE)
    expected = {
        (line["step"], f"train/{name}"): pytest.approx(value, rel=1e-6)
        for line in lines
        for name, value in line.items()
        if name != "step"
    }
    assert scalars == expected and len(scalars) == 7 + 7 + 6


def test_a_validation_is_printed_logged_and_plotted(tmp_path, capsys):
    with Monitor(tmp_path, SCHEDULE, 0, 5) as watched:
        watched.validation(6, VALIDATION, best=True)
        watched.validation(9, VALIDATION, best=False)
    result = {"loss": 1.25, "bpp": 0.5, "psnr": 30.5, "shares": [0.25, 0.25, 0.5]}
    assert lines_of(tmp_path) == [
        {"step": 6, "validation": result, "best": True},
        {"step": 9, "validation": result, "best": False},
    ]
    scalars = scalars_of(tmp_path)
    assert {tag: value for (step, tag), value in scalars.items() if step == 6} == {
        "validation/loss": 1.25,
        "validation/bpp": 0.5,
        "validation/psnr": 30.5,
        "validation/share_16": 0.25,
        "validation/share_32": 0.25,
        "validation/share_64": 0.5,
    }
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "step 6: validation loss 1.2500, 0.5000 bpp (estimate), 30.50 dB, "
        "levels 16/32/64: 25% / 25% / 50%, the best so far"
    )
    assert "best" not in said[1]


def test_images_on_tensorboard_are_those_of_the_preview(tmp_path):
    shown = preview()
    with Monitor(tmp_path, SCHEDULE, 0, 5) as watched:
        watched.images(3, shown)
    images = images_of(tmp_path)
    assert len(images) == 2 * 4 + 1
    for i in range(2):
        x, levels = shown.x[i], shown.levels[i]
        for name, expected in (
            ("input", x),
            ("reconstruction", shown.x_hat[i]),
            ("mask", visualize.draw_mask(x, levels)),
            ("bits", visualize.draw_bits(shown.density[i], levels, (64, 128))),
        ):
            np.testing.assert_array_equal(images[3, f"preview/{i}/{name}"], expected)
    np.testing.assert_array_equal(images[3, "preview/scale_of_bits"], visualize.draw_bits_scale())


def test_events_are_kept_when_the_run_is_resumed_at_their_step(tmp_path, capsys):
    facts = {"devices": 8, "signal_name": "SIGTERM", "packages": {"jax": "1"}, "revision": None}
    with Monitor(tmp_path, SCHEDULE, 0, 5) as watched:
        watched.event(2, "kept")
        watched.event(3, event="stopped", **facts)
        watched.event(4, "forgotten")
    with Monitor(tmp_path, SCHEDULE, 3, 5) as watched:
        watched.event(3, "resumed")
    assert lines_of(tmp_path) == [
        {"step": 2, "event": "kept"},
        {"step": 3, "event": "stopped", **facts},
        {"step": 3, "event": "resumed"},
    ]
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["step 2: kept", "step 3: stopped (devices 8, signal name SIGTERM)"]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_host_that_is_not_the_first_counts_but_shows_and_writes_nothing(tmp_path, capfd, stream):
    stream = stream()
    hidden = Monitor(tmp_path, SCHEDULE, 0, 5, visible=False)
    with contextlib.redirect_stderr(stream), hidden as watched:
        take_steps(watched, 0, 7)
        watched.validation(7, VALIDATION, best=True)
        watched.images(7, preview())
        watched.event(7, "stopped")
        with watched.paused("validation"):
            assert watched.pending == (values_of(6), values_of(7))
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "") and not stream.getvalue()


def test_another_host_leaves_the_log_as_it_is(tmp_path):
    record(tmp_path, 0, 13)
    before = (tmp_path / monitor.LOG_FILE).read_bytes()
    record(tmp_path, 3, 7, visible=False)
    assert (tmp_path / monitor.LOG_FILE).read_bytes() == before


def test_a_damaged_log_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / monitor.LOG_FILE).write_text("nonsense\n")
    with pytest.raises(run_log.LogError, match="line 1"), Monitor(tmp_path, SCHEDULE, 3, 5):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [monitor.LOG_FILE]


def test_values_that_are_no_numbers_and_perfect_images_can_be_logged(tmp_path):
    with Monitor(tmp_path, SCHEDULE, 0, 2) as watched:
        watched.step(1, values_of(1), 0)
        watched.step(2, values_of(2)._replace(loss=math.nan, gradient_norm=math.inf), 1)
        watched.step(3, values_of(3)._replace(mse=0.0), 2)
        watched.step(4, values_of(4)._replace(mse=0.0), 3)
    first, second = lines_of(tmp_path)
    assert first["loss"] is None and first["gradient_norm"] is None and first["bpp"] > 0
    assert second["psnr"] is None and math.isinf(scalars_of(tmp_path)[4, "train/psnr"])


def test_without_a_terminal_there_is_one_plain_line_per_interval(tmp_path, clock, capsys):
    with Monitor(tmp_path, SCHEDULE, 0, 5) as watched:
        for number in range(1, 14):
            clock.now += 1000 if number == 1 else 0.5
            watched.step(number, StepValues(1.0, 0.75, 0.001, 2.0, 1e-4), number - 1)
        with watched.paused("validation"):
            watched.event(13, "done")
    said, shown = capsys.readouterr()
    assert not said and "\r" not in shown
    assert shown.splitlines() == [
        "step 5/13: stage 1, loss 1.000, 0.750 bpp, 30.00 dB, 8.00 crops/s, 00:04 left",
        "step 10/13: stage 2, loss 1.000, 0.750 bpp, 30.00 dB, 8.00 crops/s, 00:01 left",
        "step 13/13: stage 2, loss 1.000, 0.750 bpp, 30.00 dB, 8.00 crops/s, 00:00 left",
        "step 13: done",
    ]


def test_a_terminal_has_a_bar_with_messages_above_it(tmp_path, clock):
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal), Monitor(tmp_path, SCHEDULE, 2, 5) as watched:
        for number in range(3, 7):
            clock.now += 0.25
            watched.step(number, StepValues(1.0, 0.75, 0.001, 2.0, 1e-4), number - 1)
        with watched.paused("validation"):
            clock.now += 1000
            watched.validation(6, VALIDATION, best=False)
    *lines, end = terminal.getvalue().split("\n")
    assert end == "" and len(lines) == 2
    bars = [bar for line in lines for bar in line.split("\r")]
    assert any(bar.startswith("2/13 compiling the first step") for bar in bars)
    assert any(bar.startswith("6/13 validation") for bar in bars)
    assert any(bar.startswith("step 6: validation loss") for bar in bars)
    final = "6/13 stage 1, loss 1.000, 0.750 bpp, 30.00 dB, 16 crops/s, 00:01 left"
    assert bars[-1].startswith(final)


def test_the_speed_shown_is_that_of_the_last_half_minute(tmp_path, clock, capsys):
    config = training_config.TrainingConfig(stage1_steps=400, stage2_steps=0, batch_size=4)
    with Monitor(tmp_path, config, 0, 100) as watched:
        for number in range(1, 401):
            clock.now += 10 if number <= 200 else 0.5
            watched.step(number, values_of(number), number - 1)
    shown = capsys.readouterr().err.splitlines()
    speeds = [line.split(", ")[4] for line in shown]
    assert speeds == ["0.40 crops/s"] * 2 + ["8.00 crops/s"] * 2


@pytest.mark.slow
def test_what_was_recorded_outlives_a_kill(tmp_path):
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from tests.training.test_monitor import SCHEDULE, Monitor, take_steps
        with Monitor(Path(sys.argv[1]), SCHEDULE, 0, 2) as watched:
            take_steps(watched, 0, 6)
            watched.event(6, "about to be killed")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=1800,
    )
    assert killed.returncode == -signal.SIGKILL
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 4, 6, 6]
    assert (6, "train/loss") in scalars_of(tmp_path)
