"""Signals that ask a training run on a single host to stop after a step."""

from __future__ import annotations

import signal

import pytest

from rdonet_jax.training import multihost

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX")

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.fixture(autouse=True)
def usual_handlers():
    """As of a command in the foreground, whatever tests run in."""
    numbers = [getattr(signal, name) for name in NAMES]
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in numbers[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", NAMES)
def test_the_signal_is_named_after_the_step(name):
    with multihost.stop_requests() as stop_request:
        assert stop_request(1) == ""
        signal.raise_signal(getattr(signal, name))
        assert stop_request(2) == name
        if name != "SIGINT":
            signal.raise_signal(getattr(signal, name))
        assert stop_request(3) == name
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_ctrl_c_interrupts():
    with pytest.raises(KeyboardInterrupt), multihost.stop_requests():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_ignored_stays_ignored(name):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
    with multihost.stop_requests() as stop_request:
        signal.raise_signal(getattr(signal, name))
        assert stop_request(1) == ""
