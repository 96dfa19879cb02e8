"""What a weights file declares, judged before anything of it is loaded.

Anybody may have made it. Its header, what it says of itself and the shapes of its tensors are
small, whatever the file claims; only where they are those of a network is the rest looked at.
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
from rdonet_jax.core.json_values import shortened, shown
from rdonet_jax.models import packing, registry
from rdonet_jax.models.training_record import RecordError, TrainingRecord

METADATA_KEY = "rdonet_jax"
"""The one entry of the file's metadata (the format does not keep the order of several): JSON."""

MAX_PARAMETERS = 2**26
"""Of a network; the one of the papers has 49 million."""

MAX_HEADER_BYTES = 2**20
"""Bytes of the safetensors header; the default model's has 28 thousand."""

MAX_FILE_BYTES = 8 + MAX_HEADER_BYTES + 4 * MAX_PARAMETERS + 2**24
"""Of a file: header, weights in single precision, and tables."""

MAX_DEPTH = 100
"""Of lists and objects inside each other in the metadata."""

MAX_RANK = 8
"""Of the shape of a kernel."""

TYPES = ("F16", "F32", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
"""Of tensors: those that NumPy has as well, without double precision."""

Shapes = Mapping[str, tuple[int, ...]]


class WeightsError(ValueError):
    """A file that does not hold what a weights file holds; the message does not name it."""


class Metadata(NamedTuple):
    """What a file says of itself."""

    name: Any  # to be checked by who knows what names there are
    config: AnyConfig
    record: TrainingRecord


def digest_of(path: Path) -> bytes:
    """The SHA-256 of a file that has the size and the beginning of a weights file.

    Raises `WeightsError` for another one, of which no more than the beginning is read.
    """
    with open(path, "rb") as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(8)
        header = int.from_bytes(start, "little")
        if len(start) < 8 or header > MAX_HEADER_BYTES:
            raise WeightsError("it does not begin as one does")
        if size > MAX_FILE_BYTES:
            raise WeightsError(f"it has {size} bytes, more than the {MAX_FILE_BYTES} that one may have")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").digest()


def metadata(tensors: Any) -> Metadata:
    """What an open file says of itself. Raises `WeightsError`, and `ConfigError` for a
    configuration that no network has."""
    entries = tensors.metadata() or {}
    if METADATA_KEY not in entries:
        raise WeightsError(f"there is no {METADATA_KEY} in its metadata")
    try:
        values = json.loads(entries[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        cause = "too many lists in lists" if isinstance(error, RecursionError) else error
        raise WeightsError(f"its metadata is no JSON: {shortened(str(cause))}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"its metadata is an object with named values, not {shown(values)}")
    if missing := [name for name in Metadata._fields if name not in values]:
        raise WeightsError(f"its metadata has no {missing[0]}")
    if _is_deeper(values, MAX_DEPTH):
        raise WeightsError("its metadata has too many lists in lists")
    try:
        record = TrainingRecord.of(values["record"])
    except RecordError as error:
        raise WeightsError(str(error)) from error
    model = registry.from_stored(values["config"])
    return Metadata(values["name"], model, record)


def _is_deeper(value: Any, most: int) -> bool:
    layer = [value]
    for _ in range(most):
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
    tensors: Any, expected: Shapes, others: Collection[str], most_numbers: int
) -> None:
    """Raises `WeightsError` unless an open file declares the parameters of these shapes.

    It may hold `others` beside them, each of up to `most_numbers` numbers.
    """
    count = sum(map(math.prod, expected.values()))
    if count > MAX_PARAMETERS:
        raise WeightsError(
            f"a network of its configuration has {count} parameters, more than {MAX_PARAMETERS}"
        )
    found = {}
    for key in tensors.keys():  # noqa: SIM118
        declared = tensors.get_slice(key)
        shape = tuple(declared.get_shape())
        if declared.get_dtype() not in TYPES:
            raise WeightsError(f"{shortened(key)} is of the type {declared.get_dtype()}")
        path = packing.kernel_path(key)
        if key in others:
            if math.prod(shape) > most_numbers:
                raise WeightsError(f"{key} has {math.prod(shape)} numbers, not {most_numbers}")
        elif path is None:
            found[key] = shape
        elif path not in expected:
            raise WeightsError(f"{shortened(path)} is unknown to the network of its configuration")
        elif key.endswith("/shape"):
            if len(shape) != 1 or shape[0] > MAX_RANK or declared.get_dtype()[0] == "F":
                raise WeightsError(f"{path} has no shape")
            found[path] = tuple(map(int, tensors.get_tensor(key)))
    if wrong := _difference(found, expected):
        raise WeightsError(f"it does not hold the network of its configuration: {wrong}")


def _difference(found: Shapes, expected: Shapes) -> str | None:
    """Words for the first parameter, by name, that is missing, unknown or of another shape."""
    for name in sorted({*found, *expected}):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{shortened(name)} is unknown to it"
        if found[name] != expected[name]:
            return f"{name} has the shape {list(found[name])}, not {list(expected[name])}"
    return None
