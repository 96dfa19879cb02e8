"""`log.jsonl` of a training run: one JSON object per line, each with the number of its step.

Every line is written in one piece, or not at all. An incomplete last line, which a power cut can
leave, is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from rdonet_jax.storage import files

LOG_FILE = "log.jsonl"


class LogError(ValueError):
    """A log that cannot be read. The message names the file and the line."""


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; an empty list if there is no log.

    Raises `LogError` for a damaged line, unless it is an incomplete last one.
    """
    return [entry for _, entry in _lines(path)]


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Appends a line. Numbers that JSON does not have, such as NaN, become null.

    Raises OSError, with the log as it was, if the line could not be written whole.
    """
    line = json.dumps(_strict(entry), allow_nan=False) + "\n"
    try:
        with open(path, "ab", buffering=0) as log:
            _write_whole(log, line.encode())
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise


def _write_whole(log: BinaryIO, line: bytes) -> None:
    """Writes a line at the end of an unbuffered file. Raises OSError."""
    end = log.seek(0, os.SEEK_END)
    # A disk without space takes the first bytes, and only the next call would say so.
    if log.write(line) != len(line):
        log.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def forget_after(path: Path, step: int) -> None:
    """Removes the lines of steps after `step`, and an incomplete last one. Raises as `read`."""
    kept = b"".join(line for line, entry in _lines(path) if entry["step"] <= step)
    if path.exists() and path.read_bytes() != kept:
        files.replace(path, lambda file: file.write(kept))


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """The bytes and the entry of every complete line."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    return [(line, _entry(path, i, line)) for i, line in enumerate(lines, start=1)]


def _entry(path: Path, number: int, line: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            return entry
    raise LogError(f"{path}: line {number} is damaged; it can be removed by hand")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
