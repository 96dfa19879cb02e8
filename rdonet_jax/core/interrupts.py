"""What signals mean to a command: Ctrl-C, SIGTERM and SIGHUP end it with one line.

`heed` is for the entry points of commands alone; a program that imports the package keeps its own
handling of signals. From then on a thread waits for signals and acts on them, so that they count
at once, whatever the main thread is doing: an exception that a handler raises while a library's
native code is being imported is lost, or ends the process with a fault.

A signal ends the process with the exit code of 128 and its number. Files that are not whole are
removed first. While work lasts that asks for it with `gently`, the first Ctrl-C is only noted, and
the work ends by itself; the second one ends the process.

Few modules are imported here, since a signal that comes before `heed` is not covered by it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""The signals that end a command; Windows has no SIGHUP."""

PATIENCE = 1.0
"""Seconds that the last words may take: a pipe that nobody reads must not keep the process."""


class _State:
    """What the process knows of signals. There is one, as there is one set of handlers."""

    def __init__(self) -> None:
        self.program = ""
        self.unfinished: set[str] = set()
        self.making = threading.Lock()  # held while a temporary file is made or removed
        self.gentle: list[str] = []  # what to say after the first Ctrl-C, the newest last
        self.asked = False
        self.last_words: list[Callable[[], str]] = []


_state = _State()


def heed(program: str = "rdonet") -> None:
    """Lets signals end this process, which says so under the name of the program.

    To be called once, in the main thread. What is ignored already, as by nohup, stays ignored.
    """
    _state.program = program
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # Windows has it from Python 3.12 on, and does not need it
        os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in heeded:
        signal.signal(number, _noted)
    threading.Thread(target=_watch, args=(reader, heeded), daemon=True).start()


def _noted(number: int, frame: object) -> None:
    """Does nothing: the number has reached the watching thread by the pipe."""


def _watch(reader: int, heeded: list[int]) -> None:
    while received := os.read(reader, 1):
        # Handlers that others install write to the pipe as well.
        if received[0] in heeded:
            _act(received[0])


def _act(number: int) -> None:
    if number == signal.SIGINT and _state.gentle and not _state.asked:
        _state.asked = True
        _print(f"interrupted: {_state.gentle[-1]}; Ctrl-C again ends at once")
        return
    end(number)


def end(number: int) -> None:
    """Ends the process as after a signal; gives nothing back."""
    # For good: whoever makes or completes a file now waits for the end of the process.
    _state.making.acquire()
    for path in _state.unfinished:
        with contextlib.suppress(OSError):
            os.unlink(path)
    speaker = threading.Thread(target=_say_farewell, args=(number,), daemon=True)
    speaker.start()
    speaker.join(PATIENCE)
    os._exit(128 + number)


def _say_farewell(number: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
        for words in filter(None, [words() for words in _state.last_words]):
            print(words, flush=True)
    interrupted = number == signal.SIGINT
    _print("interrupted" if interrupted else f"ended by {signal.Signals(number).name}")


def _print(words: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        # A terminal shows ^C, or a bar of progress, at the beginning of the line.
        start = "\n" if sys.stderr.isatty() else ""
        print(f"{start}{_state.program}: {words}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def temporary_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Makes a file, open for writing, that is gone at the end unless it has another name by then.

    A signal that ends the process removes it.
    """
    name = os.fspath(path)
    try:
        with _state.making:
            _state.unfinished.add(name)
            file = open(name, "xb")  # noqa: SIM115 - outlives the lock
        with file:
            yield file
    finally:
        with _state.making:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            _state.unfinished.discard(name)


@contextlib.contextmanager
def gently(what_happens: str) -> Iterator[Callable[[], bool]]:
    """While it lasts, the first Ctrl-C is noted, and `what_happens` is said.

    Gives a function that says whether it came. Several threads may be inside, and one block in
    another: one Ctrl-C is meant for all of them.
    """
    _state.gentle.append(what_happens)
    try:
        yield lambda: _state.asked
    finally:
        _state.gentle.remove(what_happens)


@contextlib.contextmanager
def last_words(words: Callable[[], str]) -> Iterator[None]:
    """While it lasts, a signal that ends the process has these words printed to standard output.

    Nothing is printed where they are empty.
    """
    _state.last_words.append(words)
    try:
        yield
    finally:
        _state.last_words.remove(words)
