"""What a command has made of one file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from rdonet_jax.models.library import ModelLibrary

FilePath = str | os.PathLike[str]
"""A file's name, or a `files.streams.Stream` that stands for standard input or output."""


class FileResult(NamedTuple):
    """The result of compressing or restoring one file."""

    lines: tuple[str, ...]  # for people
    facts: dict[str, Any]  # for programs
    pixels: int
    byte_count: int  # of the compressed file
    step_seconds: tuple[tuple[str, float], ...]  # the parts of the work and how long they took
    warnings: tuple[str, ...] = ()  # each names the file


Work = Callable[[FilePath, FilePath, ModelLibrary, bool], FileResult]
"""(source, target, library, whether to show progress) -> the result."""
