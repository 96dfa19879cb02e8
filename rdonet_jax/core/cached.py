"""Values that are computed once per object, and a lock, both safe where a process is forked.

A thread of the parent may hold a lock at the moment of a fork. In the child there is no such
thread, and nobody releases it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class cached_property(Generic[Value]):
    """As `functools.cached_property` from Python 3.12 on: threads may compute a value twice.

    That of Python 3.11 has a lock, one for all objects of a class.
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[Value]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        # Not a data descriptor, so the next access finds the value itself.
        return vars(instance).setdefault(self._name, self._function(instance))


class ProcessLock:
    """A lock for threads, which a forked process has anew."""

    def __init__(self) -> None:
        self._by_process: dict[int, threading.Lock] = {}

    def acquire(self) -> None:
        """Waits until no other thread of this process holds the lock."""
        self._of_process().acquire()

    def release(self) -> None:
        """To be called by who has acquired it."""
        self._of_process().release()

    def _of_process(self) -> threading.Lock:
        return self._by_process.setdefault(os.getpid(), threading.Lock())  # one for all threads

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
