"""Names of images that differ, where images of several folders have the same name."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath


def distinct(names: Sequence[str], folders: Iterable[str]) -> list[str]:
    """The names, behind the name of their folder where several are equal.

    `folders` are the names of the folders. What is equal then is numbered.
    """
    counts = collections.Counter(names)
    return numbered(
        [
            f"{folder}/{name}" if folder and counts[name] > 1 else name
            for name, folder in zip(names, folders, strict=True)
        ]
    )


def numbered(names: Sequence[str]) -> list[str]:
    """The names; where several are equal, all but the first with a number before the suffix."""
    taken, seen = set(names), collections.Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        new = name
        if seen[name] > 1:
            path = PurePosixPath(name)
            while new in taken:
                new = str(path.with_name(f"{path.stem}-{seen[name]}{path.suffix}"))
                seen[name] += new in taken
            taken.add(new)
        found.append(new)
    return found
