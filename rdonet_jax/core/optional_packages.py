"""Packages that smaller installations lack, and the sentence that says what needs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

OPTIONAL = ("jax", "jaxlib", "flax")


@contextlib.contextmanager
def missing_as(kind: type[Exception]) -> Iterator[None]:
    """One of `OPTIONAL` that is needed and not installed becomes an error of this kind."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        raise kind(
            f"this needs {package}, which is not installed: pip install jax flax. Portable models "
            "are coded without it where there is no search"
        ) from error
