"""Checks values from JSON against the annotations of a dataclass, for untrusted files."""

from __future__ import annotations

import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

MAX_INTEGER = 2**63 - 1
MAX_MESSAGE_LENGTH = 80

_SCALARS: Mapping[type, tuple[str, str, Callable[[Any], bool]]] = {
    int: (
        "a whole number",
        "whole numbers",
        lambda value: type(value) is int and abs(value) <= MAX_INTEGER,
    ),
    float: (
        "a finite number",
        "finite numbers",
        # False for NaN.
        lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max,
    ),
    str: ("a text", "texts", lambda value: type(value) is str),
    bool: ("true or false", "true or false", lambda value: type(value) is bool),
}
"""By annotation: its name in messages, its plural, and a function that checks a value."""

_UNIONS = (types.UnionType, typing.Union)
"""Annotations of values that may be None."""


def find_error(cls: type, values: Any) -> str | None:
    """The first reason why JSON values are no fields of a dataclass, None if they are.

    The message names the field. Names are checked, and the values of fields that are annotated with
    numbers, texts, truth values, tuples of them, and unions of these with None. Tuples are lists in
    JSON.
    """
    if not isinstance(values, Mapping):
        return f"a {cls.__name__} is an object with named values, not {short_repr(values)}"
    hints = typing.get_type_hints(cls)
    if unknown := sorted(map(str, set(values) - set(hints))):
        return f"unknown {cls.__name__} fields: {truncate(', '.join(unknown))}"
    for name, value in values.items():
        if not _fits(hints[name], value):
            return f"{name} must be {_describe(hints[name])}, not {short_repr(value)}"
    return None


def short_repr(value: Any) -> str:
    """The representation of a value in one short line, however large and deep the value is."""
    return truncate(reprlib.repr(value))


def truncate(text: str, most: int = MAX_MESSAGE_LENGTH) -> str:
    """A text, or its beginning and dots if it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def _fits(hint: Any, value: Any) -> bool:
    if hint in _SCALARS:
        return _SCALARS[hint][2](value)
    if typing.get_origin(hint) in _UNIONS:
        is_absent = value is None and types.NoneType in typing.get_args(hint)
        return is_absent or any(_fits(part, value) for part in _without_none(hint))
    if typing.get_origin(hint) is not tuple:
        return True
    if not isinstance(value, list | tuple):
        return False
    parts = typing.get_args(hint)
    if parts[-1] is Ellipsis:
        return all(_fits(parts[0], item) for item in value)
    return len(parts) == len(value) and all(map(_fits, parts, value))


def _without_none(hint: Any) -> list[Any]:
    return [part for part in typing.get_args(hint) if part is not types.NoneType]


def _describe(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint][0]
    if typing.get_origin(hint) in _UNIONS:
        return " or ".join(map(_describe, _without_none(hint)))
    return f"a list of {_describe_items(hint)}"


def _describe_items(hint: Any) -> str:
    """The names of the items of a tuple, in the plural."""
    parts = typing.get_args(hint)
    item = (
        _SCALARS[parts[0]][1] if parts[0] in _SCALARS else f"lists of {_describe_items(parts[0])}"
    )
    return item if parts[-1] is Ellipsis else f"{len(parts)} {item}"
