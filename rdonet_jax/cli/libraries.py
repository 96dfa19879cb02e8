"""Libraries that the commands use: kept from printing, and from compiling again what they have."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from rdonet_jax.cli.output import show_warnings
from rdonet_jax.entropy.constriction_library import SlowCoderWarning
from rdonet_jax.storage import files

CACHE_BYTES = 2**28
"""Of compiled code on disk, at most."""


def quiet_xla() -> None:
    """Keeps from standard error what XLA says there; to be called before JAX is imported.

    On CPUs it warns of every program that it loads from disk. Its errors are raised all the same.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet_libraries(quiet: bool = False) -> Iterator[None]:
    """Keeps what JAX, XLA and others have to say from standard error.

    A `SlowCoderWarning` is shown, for it says what the user can do, unless all is to be `quiet`.
    """
    quiet_xla()
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


def remember_compilations() -> None:
    """Lets JAX keep on disk what it compiles, for the next process; to be called before its import.

    Below $XDG_CACHE_HOME or ~/.cache, apart for kinds of processors; what is used least goes when
    it gets too much. Does nothing where JAX_COMPILATION_CACHE_DIR says something else, or where no
    folder can be made.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = files.cache_folder() / _processor()
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
