"""Values from JSON against the annotations of a dataclass, for files that anybody may have made."""

from __future__ import annotations

import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

LARGEST_INTEGER = 2**63 - 1
MOST_LETTERS = 80

_SCALARS: Mapping[type, tuple[str, str, Callable[[Any], bool]]] = {
    int: (
        "a whole number",
        "whole numbers",
        lambda value: type(value) is int and abs(value) <= LARGEST_INTEGER,
    ),
    float: (
        "a finite number",
        "finite numbers",
        # No NaN either, which no comparison holds for.
        lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max,
    ),
    str: ("a text", "texts", lambda value: type(value) is str),
    bool: ("true or false", "true or false", lambda value: type(value) is bool),
}
"""By annotation: words for one, words for several, and whether a value is one."""

_UNIONS = (types.UnionType, typing.Union)
"""Annotations of values that may be None."""


def complaint(cls: type, values: Any) -> str | None:
    """What keeps JSON values from being fields of a dataclass, in words that name the field.

    None if nothing does. Judged are the names, and values of fields that are annotated with
    numbers, texts, truth values, tuples of them, and any of these or None; tuples are lists in
    JSON.
    """
    if not isinstance(values, Mapping):
        return f"a {cls.__name__} is an object with named values, not {shown(values)}"
    hints = typing.get_type_hints(cls)
    if unknown := sorted(map(str, set(values) - set(hints))):
        return f"unknown {cls.__name__} fields: {shortened(', '.join(unknown))}"
    for name, value in values.items():
        if not _fits(hints[name], value):
            return f"{name} must be {_words(hints[name])}, not {shown(value)}"
    return None


def shown(value: Any) -> str:
    """A value for a message: in one line that is not long, however large and deep the value is."""
    return shortened(reprlib.repr(value))


def shortened(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 3] + "..."


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


def _words(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint][0]
    if typing.get_origin(hint) in _UNIONS:
        return " or ".join(map(_words, _without_none(hint)))
    return f"a list of {_several(hint)}"


def _several(hint: Any) -> str:
    """Words for the items of a tuple."""
    parts = typing.get_args(hint)
    item = _SCALARS[parts[0]][1] if parts[0] in _SCALARS else f"lists of {_several(parts[0])}"
    return item if parts[-1] is Ellipsis else f"{len(parts)} {item}"
