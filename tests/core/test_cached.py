"""Values that are computed once per object, and locks, where processes are forked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import pytest

from rdonet_jax.core.cached import ProcessLock, cached_property


class Counted:
    """Counts how often its value is computed."""

    def __init__(self) -> None:
        self.computed = 0

    @cached_property
    def value(self) -> int:
        """The number."""
        self.computed += 1
        return 7


def test_a_value_is_computed_once_for_each_object():
    one, other = Counted(), Counted()
    assert (one.value, one.value, other.value) == (7, 7, 7)
    assert one.computed == other.computed == 1
    assert Counted.value.__doc__ == "The number."


def test_threads_that_ask_for_values_of_two_objects_do_not_wait_for_each_other():
    both = threading.Barrier(2, timeout=30)

    class Slow:
        @cached_property
        def value(self) -> int:
            return both.wait()  # returns once both threads are here

    threads = [threading.Thread(target=lambda: Slow().value) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def keeps_apart(lock: ProcessLock) -> bool:
    """Whether only one of four threads at a time is within the lock."""
    counts, inside, together = [], 0, threading.Barrier(4)

    def work():
        nonlocal inside
        together.wait()
        for _ in range(200):
            with lock:
                inside += 1
                counts.append(inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts == [1] * 800


def test_a_lock_keeps_threads_apart():
    assert keeps_apart(ProcessLock())


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no processes are forked here"
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_does_not_have():
    lock, held, done = ProcessLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends a process that waits
        try:
            os._exit(0 if keeps_apart(lock) else 2)
        finally:
            os._exit(1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
