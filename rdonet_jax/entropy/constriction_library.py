"""The package constriction, or what does the same in Python where it cannot be imported.

Importing this module loads neither of them, and no NumPy.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple


class SlowCoderWarning(UserWarning):
    """Range coding is done in Python. Results are the same, later."""


class Library(NamedTuple):
    """The classes that code, see `plain_range_coder` for what is used of them."""

    Categorical: Any
    RangeEncoder: Any
    RangeDecoder: Any


@functools.cache
def load() -> Library:
    """The classes of constriction, or of `plain_range_coder` with a `SlowCoderWarning`.

    The first call decides, and warns, for the whole process.
    """
    try:
        import constriction
    except ImportError:
        from rdonet_jax.entropy import plain_range_coder as plain

        warnings.warn(
            "the package constriction cannot be imported, so range coding is done in Python, "
            "with the same result in more time; pip install constriction brings the faster coder",
            SlowCoderWarning,
            stacklevel=2,
        )
        return Library(plain.Categorical, plain.RangeEncoder, plain.RangeDecoder)
    queue = constriction.stream.queue
    return Library(constriction.stream.model.Categorical, queue.RangeEncoder, queue.RangeDecoder)
