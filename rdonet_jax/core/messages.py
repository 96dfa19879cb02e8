"""Texts for sentences of this package: what errors of libraries say, and names of files."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unicode_text(text: str) -> str:
    """The text with escapes for what is no Unicode.

    Python puts surrogates into names of files that are not UTF-8, and they cannot be encoded.
    """
    return text.encode(errors="backslashreplace").decode()
