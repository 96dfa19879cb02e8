"""How many threads the matrix products of NumPy use, where several files are coded at a time."""

from __future__ import annotations

import os
import sys

VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What the libraries behind NumPy read when they are loaded."""


def share(jobs: int) -> None:
    """Lets each of so many jobs compute with its share of the cores, one thread at least.

    Pools of threads that each take all cores wait for each other. To be called before NumPy is
    imported, or it changes nothing. What the user has set stays.
    """
    if jobs == 1 or "numpy" in sys.modules:
        return
    for variable in VARIABLES:
        os.environ.setdefault(variable, str(max(1, _cores() // jobs)))


def _cores() -> int:
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
