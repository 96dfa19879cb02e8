"""The processors that this process may use."""

from __future__ import annotations

import os

BLAS_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What the libraries behind NumPy read when they are loaded."""


def usable() -> int:
    """How many of them there are."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def blas_threads() -> int:
    """How many threads the matrix products of NumPy have: as the variables say, else one for each
    processor."""
    given = next((os.environ[name] for name in BLAS_VARIABLES if name in os.environ), "")
    return int(given) if given.isdecimal() and int(given) else usable()
