"""Texts for sentences of this package: what errors of libraries say, and names of files."""

from __future__ import annotations

from rdonet_jax.core.json_values import truncate

LONGEST_REASON = 200
"""Characters of a `reason`, at most."""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def reason(error: Exception) -> str:
    """The message of an exception on one short line, without the file name, which the caller adds.

    Messages of libraries may hold bytes of the file, and as many as it has.
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return truncate(line, LONGEST_REASON)


def unicode_text(text: str) -> str:
    """The text with escapes for what is no Unicode.

    Python puts surrogates into names of files that are not UTF-8, and they cannot be encoded.
    """
    return text.encode(errors="backslashreplace").decode()
