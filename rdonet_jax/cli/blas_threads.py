"""How many threads the matrix products of NumPy use in a command."""

from __future__ import annotations

import os
import sys

from rdonet_jax.runtime import processors


def share(jobs: int = 1) -> None:
    """Lets each of so many jobs compute with its share of the idle cores, one thread at least.

    The threads of OpenBLAS wait for each other without giving their core away. If there are more
    of them than idle cores, a command takes several times as long. Files do not depend on their
    number. To be called before NumPy is imported, or it changes nothing. What the user has set
    stays.
    """
    if "numpy" in sys.modules:
        return
    threads = max(1, (processors.usable() - _busy_cores()) // jobs)
    for variable in processors.BLAS_VARIABLES:
        os.environ.setdefault(variable, str(threads))


def _busy_cores() -> int:
    """About how many cores were in use in the last minute; 0 where this is not known."""
    try:
        return round(os.getloadavg()[0])
    except (AttributeError, OSError):  # AttributeError: on Windows
        return 0
