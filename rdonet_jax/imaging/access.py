"""Image files that cannot be read for a while, as when a disk or a network is out of reach.

Such an error says nothing of an image. A run that passed over it would go on with other crops than
it has when it is repeated, so the file is read again until it can be, or the run ends.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

from rdonet_jax.imaging.errors import AccessError

WAITS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0)
"""Seconds between two attempts to read a file, about four minutes in all."""


class AccessWarning(UserWarning):
    """A file cannot be read at present. The message names it."""


def content(path: Path) -> bytes:
    """What is in a file. Raises `AccessError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror or error}") from error


def patiently(read: Callable[[], bytes]) -> bytes:
    """What `read` gives, which is called again after an `AccessError`.

    The first one is warned of. Raises the last one once all of `WAITS_S` have passed.
    """
    for attempt, wait in enumerate(WAITS_S):
        try:
            return read()
        except AccessError as error:
            if not attempt:
                warnings.warn(
                    f"{error}; tried again for {sum(WAITS_S) / 60:.0f} minutes",
                    AccessWarning,
                    stacklevel=2,
                )
        time.sleep(wait)
    return read()
