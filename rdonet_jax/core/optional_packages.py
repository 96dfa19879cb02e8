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
        if not is_optional(error):
            raise
        raise kind(
            f"this needs {_package(error)}, which is not installed: pip install jax flax. Portable "
            "models are coded without it where there is no search and no MS-SSIM"
        ) from error


def is_optional(error: ModuleNotFoundError) -> bool:
    """Whether one of `OPTIONAL` is what was not found."""
    return _package(error) in OPTIONAL


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
