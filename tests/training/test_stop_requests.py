"""Signals that ask a training run on a single host to stop after a step."""

from __future__ import annotations

import signal

import pytest

from rdonet_jax.core import interrupts, multihost

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX")

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.fixture(autouse=True)
def usual_handlers(monkeypatch):
    """As of a program in the foreground that handles no signals, whatever tests run in."""
    monkeypatch.setattr(interrupts._state, "installed", False)
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


@pytest.mark.parametrize("received", [False, True])
def test_hosts_that_have_agreed_on_no_step_do_not_stop_before_the_first(monkeypatch, received):
    """JAX agrees on the step after the last one that a host has asked for; before that, on 0."""
    asked = []

    def reached(step):
        agreed = max(asked, default=0) + 1 if received else 0
        asked.append(step)
        return step == agreed

    monkeypatch.setattr(multihost.jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost.multihost_utils, "reached_preemption_sync_point", reached)
    with multihost.stop_requests() as stop_request:
        assert stop_request(0) == ""
        assert stop_request(1) == ("SIGTERM" if received else "")


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


@pytest.fixture
def of_a_command(monkeypatch):
    """Signals come by the thread of a command, which ends the process with what nobody takes."""
    ended = []
    monkeypatch.setattr(interrupts._state, "installed", True)
    monkeypatch.setattr(interrupts, "terminate", ended.append)
    return ended


@pytest.mark.parametrize("name", NAMES)
def test_the_signal_of_a_command_is_named_after_the_step(name, of_a_command):
    with multihost.stop_requests() as stop_request:
        interrupts._handle(getattr(signal, name))
        assert stop_request(1) == name
        assert not of_a_command
    interrupts._handle(signal.SIGTERM)
    assert of_a_command == [signal.SIGTERM]


def test_a_second_ctrl_c_ends_the_command_and_a_second_request_to_end_does_not(of_a_command):
    with multihost.stop_requests():
        interrupts._handle(signal.SIGTERM)
        interrupts._handle(signal.SIGTERM)
        interrupts._handle(signal.SIGINT)
        assert not of_a_command
        interrupts._handle(signal.SIGINT)
        assert of_a_command == [signal.SIGINT]
