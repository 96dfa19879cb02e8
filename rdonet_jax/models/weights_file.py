"""Checks of a weights file before its tensors are loaded.

Files may come from anybody. Reading the header, the metadata and the shapes of the tensors takes
little memory, whatever the file claims. The tensors are read only if these fit a network.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.json_values import short_repr, truncate
from rdonet_jax.models import packing, registry
from rdonet_jax.models.training_record import RecordError, TrainingRecord

METADATA_KEY = "rdonet_jax"
"""The only key of the file's metadata, since safetensors does not keep the order of several.

Its value is JSON."""

MAX_PARAMETERS = 2**26
"""The largest network; RDONet as published has 49 million."""

MAX_HEADER_BYTES = 2**20
"""The largest safetensors header in bytes; the default model's has 28 thousand."""

MAX_FILE_BYTES = 8 + MAX_HEADER_BYTES + 4 * MAX_PARAMETERS + 2**24
"""The largest file: header, weights in single precision, and tables."""

MAX_DEPTH = 100
"""The deepest nesting of lists and objects in the metadata."""

MAX_RANK = 8
"""The most axes of a kernel."""

TYPES = ("F16", "F32", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
"""The allowed types of tensors: those that NumPy has too, without double precision."""

Shapes = Mapping[str, tuple[int, ...]]


class WeightsError(ValueError):
    """A file that is no weights file. The message does not contain its name."""


class Metadata(NamedTuple):
    """The metadata of a weights file."""

    name: Any  # not checked
    config: AnyConfig
    record: TrainingRecord


def digest_of(path: Path) -> bytes:
    """The SHA-256 of a weights file.

    Raises `WeightsError`, after reading eight bytes, for a file whose size or beginning is not that
    of a weights file.
    """
    with open(path, "rb") as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(8)
        header = int.from_bytes(start, "little")
        if len(start) < 8 or header > MAX_HEADER_BYTES:
            raise WeightsError("it does not begin as one does")
        if size > MAX_FILE_BYTES:
            raise WeightsError(
                f"it has {size} bytes, more than the {MAX_FILE_BYTES} that one may have"
            )
        file.seek(0)
        return hashlib.file_digest(file, "sha256").digest()


def metadata(tensors: Any) -> Metadata:
    """The metadata of an open file.

    Raises `WeightsError`, and `ConfigError` for an invalid configuration.
    """
    entries = tensors.metadata() or {}
    if METADATA_KEY not in entries:
        raise WeightsError(f"there is no {METADATA_KEY} in its metadata")
    try:
        values = json.loads(entries[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        cause = "too many lists in lists" if isinstance(error, RecursionError) else error
        raise WeightsError(f"its metadata is no JSON: {truncate(str(cause))}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"its metadata is an object with named values, not {short_repr(values)}")
    if missing := [name for name in Metadata._fields if name not in values]:
        raise WeightsError(f"its metadata has no {missing[0]}")
    if _is_nested_deeper(values, MAX_DEPTH):
        raise WeightsError("its metadata has too many lists in lists")
    try:
        record = TrainingRecord.from_json(values["record"])
    except RecordError as error:
        raise WeightsError(str(error)) from error
    model = registry.from_stored(values["config"])
    return Metadata(values["name"], model, record)


def _is_nested_deeper(value: Any, depth: int) -> bool:
    layer = [value]
    for _ in range(depth):
        layer = [
            item
            for outer in layer
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return True


def require_network(
    tensors: Any, expected: Shapes, extra_keys: Collection[str], max_numbers: int
) -> None:
    """Raises `WeightsError` unless the tensors of an open file have the `expected` shapes.

    The file may also have tensors of `extra_keys`, each of up to `max_numbers` numbers.
    """
    count = sum(map(math.prod, expected.values()))
    if count > MAX_PARAMETERS:
        raise WeightsError(
            f"a network of its configuration has {count} parameters, more than {MAX_PARAMETERS}"
        )
    declared_shapes = {}
    for key in tensors.keys():  # noqa: SIM118
        declared = tensors.get_slice(key)
        shape = tuple(declared.get_shape())
        if declared.get_dtype() not in TYPES:
            raise WeightsError(f"{truncate(key)} is of the type {declared.get_dtype()}")
        path = packing.kernel_path(key)
        if key in extra_keys:
            if math.prod(shape) > max_numbers:
                raise WeightsError(f"{key} has {math.prod(shape)} numbers, not {max_numbers}")
        elif path is None:
            declared_shapes[key] = shape
        elif path not in expected:
            raise WeightsError(f"{truncate(path)} is unknown to the network of its configuration")
        elif key.endswith("/shape"):
            if len(shape) != 1 or shape[0] > MAX_RANK or declared.get_dtype()[0] == "F":
                raise WeightsError(f"{path} has no shape")
            declared_shapes[path] = tuple(map(int, tensors.get_tensor(key)))
    if difference := _first_difference(declared_shapes, expected):
        raise WeightsError(f"it does not hold the network of its configuration: {difference}")


def _first_difference(declared: Shapes, expected: Shapes) -> str | None:
    """Describes the first parameter, by name, that is missing, unknown or of another shape."""
    for name in sorted({*declared, *expected}):
        if name not in declared:
            return f"{name} is missing"
        if name not in expected:
            return f"{truncate(name)} is unknown to it"
        if declared[name] != expected[name]:
            return f"{name} has the shape {list(declared[name])}, not {list(expected[name])}"
    return None
