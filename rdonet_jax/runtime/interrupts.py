"""Signal handling of commands: Ctrl-C, SIGTERM and SIGHUP end the process with one line of text.

`install_handlers` is for the entry points of commands alone; a program that imports the package
keeps its own signal handling. A thread waits for signals and handles them, so they take effect at
once, whatever the main thread does. An exception raised in a handler would not do: while a
library's native code is imported, it is lost or crashes the process.

A signal ends the process with the exit code 128 plus its number. Incomplete files are removed
first. Within `graceful_interrupt`, the first Ctrl-C only sets a flag, which the work checks to stop
by itself; the second one ends the process.

This module imports few others, since a signal before `install_handlers` is not handled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from rdonet_jax.core.cached import ProcessLock

TERMINATING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""The signals that end a command; Windows has no SIGHUP."""

FINAL_OUTPUT_TIMEOUT = 1.0
"""Seconds for the final output: a pipe that nobody reads must not keep the process alive."""


class _State:
    """The state of the signal handling. There is one per process."""

    def __init__(self) -> None:
        self.program = ""
        self.installed = False
        self.take: Callable[[int], bool] | None = None  # of `taking_signals`
        self.temporary_files: set[str] = set()
        self.temporary_folders: dict[str, Callable[[str], None]] = {}  # with what removes them
        self.files_lock = ProcessLock()  # held while one of them is made or removed
        self.graceful_messages: list[str] = []  # printed after the first Ctrl-C, the newest last
        self.interrupted = False  # by a first Ctrl-C
        self.final_outputs: list[Callable[[], str]] = []


_state = _State()


def install_handlers(program: str = "rdonet") -> None:
    """Lets signals end this process with a message that begins with the program's name.

    To be called in the main thread; a second call changes the name alone. Signals that are ignored,
    as by nohup, stay ignored.
    """
    _state.program = program
    if _state.installed:
        return
    _state.installed = True
    numbers = [getattr(signal, name) for name in TERMINATING_SIGNALS if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # Windows has it from Python 3.12 on, and does not need it
        os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in handled:
        signal.signal(number, _ignore)
    threading.Thread(target=_watch, args=(reader, handled), daemon=True).start()


def _ignore(number: int, frame: object) -> None:
    """Does nothing: the thread of `_watch` reads the signal's number from the pipe."""


def _watch(reader: int, handled: list[int]) -> None:
    while received := os.read(reader, 1):
        # Signals whose handlers are installed elsewhere reach the pipe as well.
        if received[0] in handled:
            _handle(received[0])


def _handle(number: int) -> None:
    if _state.take is not None and _state.take(number):
        return
    if number == signal.SIGINT and _state.graceful_messages and not _state.interrupted:
        _state.interrupted = True
        _print(f"interrupted: {_state.graceful_messages[-1]}; Ctrl-C again ends at once")
        return
    terminate(number)


def terminate(number: int) -> None:
    """Ends the process as after the signal of this number; does not return."""
    # Never released: no thread makes or completes a file from now on.
    _state.files_lock.acquire()
    for path in _state.temporary_files:
        with contextlib.suppress(OSError):
            os.unlink(path)
    for folder, remove in _state.temporary_folders.items():
        remove(folder)
    printer = threading.Thread(target=_print_final_output, args=(number,), daemon=True)
    printer.start()
    printer.join(FINAL_OUTPUT_TIMEOUT)
    os._exit(128 + number)


def _print_final_output(number: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
        for text in filter(None, [make_text() for make_text in _state.final_outputs]):
            print(text, flush=True)
    interrupted = number == signal.SIGINT
    _print("interrupted" if interrupted else f"ended by {signal.Signals(number).name}")


def _print(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        # The line may already have ^C or a progress bar on a terminal.
        start = "\n" if sys.stderr.isatty() else ""
        print(f"{start}{_state.program}: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def temporary_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Makes a file, open for writing. It is removed at the end unless it was renamed.

    A signal that ends the process removes it too.
    """
    name = os.fspath(path)
    try:
        with _state.files_lock:
            _state.temporary_files.add(name)
            file = open(name, "xb")  # noqa: SIM115 - outlives the lock
        with file:
            yield file
    finally:
        with _state.files_lock:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            _state.temporary_files.discard(name)


@contextlib.contextmanager
def temporary_folder(
    prefix: str = "rdonet-", parent: str | os.PathLike | None = None
) -> Iterator[str]:
    """Makes a folder, by default where the system has temporary files. It is removed at the end.

    A signal that ends the process removes it too. After `keep_folder` it stays.
    """
    import shutil
    import tempfile

    def remove(path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)

    with _state.files_lock:
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        _state.temporary_folders[folder] = remove
    try:
        yield folder
    finally:
        with _state.files_lock:
            if folder in _state.temporary_folders:
                remove(folder)
                del _state.temporary_folders[folder]


def keep_folder(folder: str | os.PathLike) -> None:
    """Lets a folder of `temporary_folder` stay, also after a signal."""
    with _state.files_lock:
        _state.temporary_folders.pop(os.fspath(folder), None)


def temporary_paths() -> frozenset[str]:
    """The files and folders that a signal would remove now."""
    with _state.files_lock:
        return frozenset((*_state.temporary_files, *_state.temporary_folders))


@contextlib.contextmanager
def graceful_interrupt(message: str) -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C does not end the process but prints `message`.

    Gives a function that tells whether Ctrl-C was pressed. Blocks may be nested and run in several
    threads: one Ctrl-C is meant for all of them.
    """
    _state.graceful_messages.append(message)
    try:
        yield lambda: _state.interrupted
    finally:
        _state.graceful_messages.remove(message)


def are_handled() -> bool:
    """Whether `install_handlers` was called in this process."""
    return _state.installed


@contextlib.contextmanager
def taking_signals(take: Callable[[int], bool]) -> Iterator[None]:
    """Within it, a signal goes to `take` first, in a thread of its own.

    It ends the process only if `take` returns False.
    """
    _state.take = take
    try:
        yield
    finally:
        _state.take = None


@contextlib.contextmanager
def final_output(make_text: Callable[[], str]) -> Iterator[None]:
    """Within it, a signal that ends the process prints this text to standard output first.

    Nothing is printed if the text is empty.
    """
    _state.final_outputs.append(make_text)
    try:
        yield
    finally:
        _state.final_outputs.remove(make_text)
