"""Options of a command line for the fields of configurations, which are dataclasses.

The field `batch_size` of the section `training` is the option `--training.batch-size`. Its help is
what the docstring of its class has under "Attributes". A tuple is a row of values, and a tuple of
tuples as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rdonet_jax.core.config import ConfigError, field_values

_ATTRIBUTE = re.compile(r"  (\w+(?:, \w+)*): (.*)")
"""A line that begins the description of attributes."""


class Section(NamedTuple):
    """A dataclass whose fields are options.

    `flags` gives other spellings of a field's option, `choices` the words that a field may be, and
    `left_out` names fields that are no options.
    """

    name: str
    cls: type
    defaults: Any = None  # an instance; None: the help says nothing of defaults
    flags: Callable[[str], Sequence[str]] = lambda field: ()
    choices: Mapping[str, Collection[str]] = types.MappingProxyType({})
    left_out: Sequence[str] = ()

    def fields(self) -> list[str]:
        """The names of the fields that are options."""
        return [f.name for f in dataclasses.fields(self.cls) if f.name not in self.left_out]


def dashed(field: str) -> str:
    """A field's name as options have it."""
    return field.replace("_", "-")


def add(parser: argparse.ArgumentParser, section: Section, title: str) -> None:
    """Adds the options of a section, as a group."""
    group = parser.add_argument_group(title)
    hints, texts = typing.get_type_hints(section.cls), descriptions(section.cls)
    for field in section.fields():
        names = [f"--{section.name}.{dashed(field)}", *section.flags(field)]
        default = getattr(section.defaults, field, None)
        as_json = typing.get_origin(hints[field]) is tuple and _is_ragged(hints[field])
        shown = repr(json.dumps(default)) if as_json else _shown(default)
        words = [texts.get(field, ""), "" if default is None else f"(default: {shown})"]
        group.add_argument(
            *names,
            dest=f"{section.name}.{field}",
            default=argparse.SUPPRESS,
            help=" ".join(filter(None, words)).replace("%", "%%"),
            **_settings(field, hints[field], section.choices.get(field)),
        )


def given(options: argparse.Namespace, section: Section) -> dict[str, Any]:
    """The values of the fields that the command line sets. Raises `ConfigError`."""
    hints, values = typing.get_type_hints(section.cls), vars(options)
    return {
        field: _field_value(section, field, hints[field], values[f"{section.name}.{field}"])
        for field in section.fields()
        if f"{section.name}.{field}" in values
    }


def descriptions(cls: type) -> dict[str, str]:
    """What the docstring of a class says of its attributes, by name.

    Attributes that are described together have the same text.
    """
    _, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        if line and not line.startswith("  "):
            break
        if match := _ATTRIBUTE.fullmatch(line):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: text.replace("`", "") for name, text in found.items()}


def _settings(field: str, hint: Any, choices: Collection[str] | None) -> dict[str, Any]:
    """What argparse has to know of an option of this type."""
    hint = _required(hint)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    kind, count = _leaf(hint)
    name = field.rpartition("_")[2].upper()
    settings: dict[str, Any] = {"type": kind, "choices": choices}
    if choices is None:
        settings["metavar"] = name
    if typing.get_origin(hint) is tuple and not _is_ragged(hint):
        settings["nargs"] = count or "+"
    return settings


def _is_ragged(hint: Any) -> bool:
    """Whether a type is of rows whose lengths are open, which one row of values cannot tell."""
    return any(typing.get_args(part)[-1:] == (Ellipsis,) for part in typing.get_args(hint))


def _required(hint: Any) -> Any:
    """The type of an optional value."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return parts[0] if len(parts) == 1 else hint
    return hint


def _leaf(hint: Any) -> tuple[Callable[[str], Any], int | None]:
    """What one value is, and how many a row has; None where that is open."""
    if hint in (int, float, str):
        return hint, 1
    if typing.get_origin(hint) is not tuple or _is_ragged(hint):
        return _json_value, 1
    parts = typing.get_args(hint)
    kind, count = _leaf(parts[0])
    is_open = parts[-1] is Ellipsis
    return kind, None if is_open or count is None else count * len(parts)


def _json_value(text: str) -> Any:
    """An argument of a type that has no words of its own: JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON") from error


def _field_value(section: Section, field: str, hint: Any, value: Any) -> Any:
    """The value of a field from its option. Raises `ConfigError`."""
    if _is_ragged(hint):
        return field_values(section.cls, {field: value})[field]
    return _shaped(f"{section.name}.{field}", hint, value)


def _shaped(name: str, hint: Any, value: Any) -> Any:
    """A row of values as the tuple, or the tuple of tuples, that a field holds."""
    if typing.get_origin(hint) is not tuple:
        return value
    inner = typing.get_args(hint)[0]
    if typing.get_origin(inner) is not tuple:
        return tuple(value)
    _, width = _leaf(inner)
    if width is None or len(value) % width:
        raise ConfigError(f"{name} takes groups of {width} values, not {len(value)} in all")
    rows = range(0, len(value), width)
    return tuple(_shaped(name, inner, value[row : row + width]) for row in rows)


def _shown(value: Any) -> str:
    """A value as one types it on a command line."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
