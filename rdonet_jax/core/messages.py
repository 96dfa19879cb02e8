"""What errors of libraries say, for sentences of this package."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
