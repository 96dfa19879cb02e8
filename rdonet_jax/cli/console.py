"""What surrounds a command on a terminal: one-line errors, progress, and libraries kept quiet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import sys
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rdonet_jax.entropy.constriction_library import SlowCoderWarning
from rdonet_jax.imaging.errors import ExistingFileError

CACHE_BYTES = 2**28
"""Of compiled code on disk, at most."""

OPTIONAL = ("jax", "jaxlib", "flax")
"""Packages that smaller installations may lack."""

PROGRESS_DELAY = 2.0
"""Seconds that a command may take before it shows its progress."""

_JOINERS = "\u200c\u200d"
"""Invisible characters that words and emoji are written with."""


class CommandError(Exception):
    """Something the user can put right; the message is `FILE: cause`."""


class TargetExists(CommandError):
    """The result is there already and is not to be overwritten."""


class OutputClosed(BrokenPipeError):
    """Nobody reads standard output any more."""


class Incomplete(Exception):
    """Some of many files could not be done, as has been printed."""


def cause_of(error: Exception, about: str | None = None) -> str:
    """The sentence about an error; `about` is the file where one of the system names none."""
    if not isinstance(error, OSError):
        return str(error)
    name = error.filename or about
    return f"{name}: {error.strerror or error}" if name else str(error)


@contextlib.contextmanager
def explained(*kinds: type[Exception], about: str | None = None) -> Iterator[None]:
    """Errors of these kinds become `CommandError`s; `about` is the file they do not name."""
    try:
        yield
    except kinds as error:
        kind = TargetExists if isinstance(error, ExistingFileError) else CommandError
        raise kind(f"{about}: {error}" if about else str(error)) from error


@contextlib.contextmanager
def errors_as_json(
    is_asked: bool, about: Mapping[str, Any], write: Callable[[str], None] | None = None
) -> Iterator[None]:
    """With --json, an error is a line of JSON too, with what it is `about`. It is raised again.

    A missing package is one, see `explained_missing`. `write` prints lines, to standard output
    where it is None.
    """
    try:
        with explained_missing():
            yield
    except OutputClosed:
        raise
    except (CommandError, OSError) as error:
        if is_asked:
            (write or say)(json.dumps({**about, "error": cause_of(error)}))
        raise


@contextlib.contextmanager
def explained_missing() -> Iterator[None]:
    """A package that smaller installations lack, and that is needed, becomes a `CommandError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        raise CommandError(
            f"this needs {package}, which is not installed: pip install jax flax. Portable models "
            "are coded without it where there is no search"
        ) from error


@contextlib.contextmanager
def progress(about: str, steps: Sequence[str], quiet: bool) -> Iterator[Callable[[str], None]]:
    """For work that takes long and much memory, on the file `about`.

    Gives a function to call at the beginning of each step: on a terminal it moves a bar.
    """
    try:
        with _bar(steps, silent=quiet or not sys.stderr.isatty()) as report:
            yield report
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise CommandError(f"{about}: there is not enough memory for this image") from error


@contextlib.contextmanager
def _bar(steps: Sequence[str], silent: bool) -> Iterator[Callable[[str], None]]:
    """A bar that appears when the work has taken `PROGRESS_DELAY`, within a step if need be."""
    if silent:
        yield lambda step: None
        return
    bar = _LateBar(steps)
    timer = threading.Timer(PROGRESS_DELAY, bar.appear)
    timer.daemon = True
    try:
        timer.start()
        yield bar.report
    finally:
        timer.cancel()
        bar.close()


class _LateBar:
    """A bar of tqdm, which is imported only when it appears: most commands are done before."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps, self._at = steps, 0
        self._bar: Any = None
        self._started, self._lock, self._is_over = time.time(), threading.RLock(), False

    def appear(self) -> None:
        with self._lock:
            if self._bar is not None or self._is_over:
                return
            from tqdm import tqdm

            self._bar = tqdm(
                total=len(self._steps),
                bar_format="{desc:<9} |{bar}| {n_fmt}/{total_fmt} [{elapsed}]",
                initial=self._at,
                desc=self._steps[self._at],
                mininterval=0,
                leave=False,
            )
            self._bar.start_t = self._started

    def report(self, step: str) -> None:
        with self._lock:
            self._at = self._steps.index(step)
            if self._bar is not None:
                self._bar.set_description_str(step, refresh=False)
                self._bar.update(self._at - self._bar.n)
            elif time.time() - self._started >= PROGRESS_DELAY:
                self.appear()

    def close(self) -> None:
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.close()


@contextlib.contextmanager
def quiet_libraries(quiet: bool = False) -> Iterator[None]:
    """Keeps what JAX, XLA and others have to say from standard error.

    A `SlowCoderWarning` is shown, for it says what the user can do, unless all is to be `quiet`.
    """
    # XLA reads this when it is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # With any handler at all, `logging` prints nothing of its own accord. Libraries that are
    # imported already may have added one that prints.
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [logging.NullHandler()]
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
                if not quiet:
                    warnings.simplefilter("default", SlowCoderWarning)
                    show_warnings("rdonet")
            yield
    finally:
        root.handlers = handlers


def show_warnings(program: str) -> None:
    """Lets Python's warnings appear as one line each, without the place in the code."""

    def show(message: Warning | str, *_: object) -> None:
        note(f"warning: {' '.join(str(message).split())}", program)

    warnings.showwarning = show


def remember_compilations() -> None:
    """Lets JAX keep on disk what it compiles, for the next process; to be called before its import.

    Below $XDG_CACHE_HOME or ~/.cache, apart for kinds of processors; what is used least goes when
    it gets too much. Does nothing where JAX_COMPILATION_CACHE_DIR says something else, or where no
    folder can be made.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folder = root / "rdonet_jax" / _processor()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _processor() -> str:
    """A name for this machine's kind of processor: compiled code may not run on another."""
    about = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def open_streams() -> None:
    """Puts the null device in place of standard input, output and error where they are closed.

    Otherwise the next file that is opened would take the number of a closed one, and would get what
    libraries print.
    """
    with contextlib.ExitStack() as surplus:
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        surplus.callback(os.close, number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Open as long as the process runs, as the others are.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def is_closed(stream: TextIO) -> bool:
    """Whether a stream was closed when `open_streams` was called."""
    return getattr(stream, "name", None) == os.devnull


def is_descriptor(stream: TextIO, number: int) -> bool:
    """Whether a stream writes to the file descriptor of this number."""
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def own_descriptor(stream: TextIO) -> Iterator[TextIO]:
    """A stream to where `stream` goes, whose own descriptor is the null device meanwhile.

    So native code that writes to the descriptor is not heard.
    """
    number = stream.fileno()
    stream.flush()
    with contextlib.ExitStack() as undone:
        kept = os.dup(number)
        undone.callback(os.close, kept)
        undone.callback(os.dup2, kept, number)
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), number)
        yield undone.enter_context(
            open(os.dup(kept), "w", encoding=stream.encoding, errors=stream.errors)
        )


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """For writing to standard output. Raises `OutputClosed` where nobody reads it any more, and
    `CommandError` for what else keeps it from being written."""
    try:
        yield
    except OSError as error:
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise OutputClosed(*error.args) from error
        raise CommandError(f"standard output: {error.strerror}") from error


def _give_up(stream: TextIO) -> None:
    """Sends what a stream could not write to the null device.

    Otherwise the interpreter tries again when it ends, and complains.
    """
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def escaped(text: str) -> str:
    """A text for a line of a terminal, in which nothing is left that could command it.

    File names and what files say of themselves may hold characters that move the cursor, hide what
    stands before them or turn the direction of writing. They appear as Python would write them.
    """
    return "".join(
        character.encode("unicode_escape").decode() if _is_command(character) else character
        for character in text
    )


def _is_command(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cf", "Zl", "Zp") and character not in _JOINERS


def say(text: str) -> None:
    """Prints lines to standard output, whatever its encoding, and `escaped` but for their ends."""
    encoding = sys.stdout.encoding or "utf-8"
    text = "\n".join(map(escaped, text.split("\n")))
    with writing_output():
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def say_beside(text: str) -> None:
    """Prints lines to standard error, `escaped` but for their ends, if that can be written to.

    Otherwise nothing is said: exit codes speak for themselves.
    """
    text = "\n".join(map(escaped, text.split("\n")))
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def note(message: str, program: str = "rdonet") -> None:
    """Prints one line to standard error, as `say_beside` does."""
    say_beside(f"{program}: {' '.join(message.splitlines())}")


def failed(message: str) -> int:
    """Prints the one line of an error; returns its exit code."""
    note(message)
    return 1
