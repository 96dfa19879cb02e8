"""Signals that ask a training run on a single host to stop after a step."""

from __future__ import annotations

import signal

import pytest

from rdonet_jax.runtime import interrupts, multihost

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX")

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.fixture(autouse=True)
def usual_handlers(monkeypatch):
    """As of a program in the foreground that handles no signals, whatever tests run in."""
    monkeypatch.setattr(interrupts, "are_handled", lambda: False)
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


class Agreement:
    """JAX's agreement of hosts on a step: the one after the largest that a host has asked for."""

    def __init__(self) -> None:
        self.asked, self.agreed = 0, -1

    def reached(self, step: int) -> bool:
        self.asked = step
        return step == self.agreed

    def receive_signal(self) -> None:
        self.agreed = self.asked + 1


@pytest.mark.parametrize("done", [0, 500])
@pytest.mark.parametrize("after", [None, 0, 2])
def test_hosts_stop_after_the_step_that_follows_a_signal_however_many_are_done(
    monkeypatch, done, after
):
    """The signal comes before the first question, or after the one at so many further steps."""
    agreement = Agreement()
    monkeypatch.setattr(multihost.jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        multihost.multihost_utils, "reached_preemption_sync_point", agreement.reached
    )
    stopped = []
    with multihost.stop_requests() as stop_request:
        if after is None:
            agreement.receive_signal()
        for step in range(5):
            if stop_request(done + step):
                stopped.append(step)
            if step == after:
                agreement.receive_signal()
    assert stopped == [(after or 0) + 1]


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
    monkeypatch.setattr(interrupts, "are_handled", lambda: True)
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
