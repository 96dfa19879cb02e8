"""JSON files that a study has written and reads again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class StudyError(ValueError):
    """A study that cannot be started or continued."""


def read(path: Path) -> dict[str, Any]:
    """The object in a file. Raises `StudyError` for a damaged one, and OSError."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: is damaged: {error}") from error
    if not isinstance(found, dict):
        raise StudyError(f"{path}: is damaged: it holds no JSON object")
    return found
