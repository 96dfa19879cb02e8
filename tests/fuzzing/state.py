"""What a long run has tried so far, in a file."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.core import files

FILE = "state.json"


class Turn(NamedTuple):
    """The next inputs of a subject, for a process to try."""

    name: str
    first: int
    count: int


class State:
    """How many inputs of each subject were tried, and what became of them.

    It is written anew after every part. Threads may share it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.RLock()
        self._turns: dict[str, Turn] = {}
        self.subjects: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self.subjects = json.loads(self._path.read_text())

    @contextlib.contextmanager
    def turn(self, names: Sequence[str], most: int, until: int) -> Iterator[Turn | None]:
        """At most so many inputs of the subject that has had the least time; None if all are tried.

        All subjects together get no more than `until` inputs. No other turn has this subject.
        """
        with self._lock:
            free = [name for name in names if name not in self._turns]
            turns = self._turns.values()
            tried = sum(found["next"] for found in self.subjects.values())
            under_way = sum(turn.first + turn.count - self.next(turn.name) for turn in turns)
            count = min(most, until - tried - under_way)
            if not free or count <= 0:
                turn = None
            else:
                name = min(free, key=lambda each: self._of(each)["seconds"])
                turn = self._turns[name] = Turn(name, self.next(name), count)
        try:
            yield turn
        finally:
            if turn:
                with self._lock:
                    del self._turns[turn.name]

    def next(self, name: str) -> int:
        """The first input of a subject that was not tried."""
        return self.subjects[name]["next"] if name in self.subjects else 0

    def _of(self, name: str) -> dict[str, Any]:
        empty = {"next": 0, "outcomes": {}, "faults": 0, "slowest": [0.0, -1], "memory": 0}
        return self.subjects.setdefault(name, empty | {"seconds": 0.0})

    def add(self, name: str, part: dict[str, Any]) -> None:
        """Adds the findings of a part."""
        with self._lock:
            total = self._of(name)
            for words, count in part["outcomes"].items():
                total["outcomes"][words] = total["outcomes"].get(words, 0) + count
            total["slowest"] = max(total["slowest"], part["slowest"])
            total["memory"] = max(total["memory"], part["memory"])
            total["seconds"] += part["seconds"]
            total["faults"] += len(part["faults"])
            total["next"] += part["count"]
            self._save()

    def add_end(self, name: str, number: int) -> None:
        """Adds an input that ended its process, and those before it of its part.

        These are not tried again: they were without a fault.
        """
        with self._lock:
            total = self._of(name)
            words = "before one that ended the process"
            skipped = number + 1 - total["next"]
            total["outcomes"][words] = total["outcomes"].get(words, 0) + skipped
            total["faults"] += 1
            total["next"] = number + 1
            self._save()

    def _save(self) -> None:
        content = json.dumps(self.subjects, indent=1).encode()
        files.replace(self._path, lambda file: file.write(content))

    def faults(self, name: str | None = None) -> int:
        """The faults of a subject, or of all."""
        with self._lock:
            subjects = self.subjects if name is None else [name]
            return sum(self._of(each)["faults"] for each in subjects)

    def tried(self) -> int:
        """The inputs of all subjects."""
        with self._lock:
            return sum(found["next"] for found in self.subjects.values())

    def text(self) -> str:
        """A table by subject."""
        lines = [
            "| inputs | tried | hours | faults | slowest | memory |",
            "|---|---|---|---|---|---|",
        ]
        for name, found in sorted(self.subjects.items()):
            lines.append(
                f"| {name} | {found['next']:,} | {found['seconds'] / 3600:.2f} | {found['faults']} "
                f"| {found['slowest'][0]:.2f} s | {found['memory'] / 2**20:.0f} MiB |"
            )
        return "\n".join(lines)
