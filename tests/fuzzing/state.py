"""What a long run has tried so far, in a file."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.storage import files

FILE = "state.json"
ENDED = "ended the process"


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
    def turn(self, shares: Mapping[str, int], most: int, until: int) -> Iterator[Turn | None]:
        """At most so many inputs of the subject that has had the least of its share of the time.

        All subjects together get no more than `until` inputs, but for those that end a process. No
        other turn has this subject. None if no subject is free, or nothing is left for this turn.
        """
        with self._lock:
            turn = self._next_turn(shares, most, until)
            if turn:
                self._turns[turn.name] = turn
        try:
            yield turn
        finally:
            if turn:
                with self._lock:
                    del self._turns[turn.name]

    def _next_turn(self, shares: Mapping[str, int], most: int, until: int) -> Turn | None:
        free = [name for name in shares if name not in self._turns]
        turns = self._turns.values()
        under_way = sum(max(0, turn.first + turn.count - self.next(turn.name)) for turn in turns)
        left = until - self.tried() - under_way
        if not free or left <= 0:
            return None
        name = min(free, key=lambda each: self._of(each)["seconds"] / shares[each])
        first, ended = self.next(name), self._of(name)["ended"]
        later = [number - first for number in ended if number > first]
        return Turn(name, first, min(most, left, *later))

    def is_finished(self, until: int) -> bool:
        """Whether so many inputs were tried, and no turn is under way."""
        with self._lock:
            return not self._turns and self.tried() >= until

    def next(self, name: str) -> int:
        """The first input of a subject that was not tried."""
        return self._of(name)["next"]

    def _of(self, name: str) -> dict[str, Any]:
        empty = {"next": 0, "outcomes": {}, "faults": [], "slowest": [0.0, -1], "memory": 0}
        return self.subjects.get(name, empty | {"seconds": 0.0, "ended": []})

    def add(self, name: str, part: dict[str, Any]) -> None:
        """Adds the findings of a part."""
        with self._changed(name) as total:
            for words, count in part["outcomes"].items():
                total["outcomes"][words] = total["outcomes"].get(words, 0) + count
            total["slowest"] = max(total["slowest"], part["slowest"])
            total["memory"] = max(total["memory"], part["memory"])
            total["seconds"] += part["seconds"]
            total["next"] += part["count"]

    def add_fault(self, name: str, number: int) -> None:
        """Adds a fault. Its part may be tried once more, and give the same fault again."""
        with self._changed(name) as total:
            total["faults"] = sorted({*total["faults"], number})

    def add_end(self, name: str, number: int, seconds: float) -> None:
        """Adds an input that ended its process, after so many seconds in which no part ended.

        The next turn has the inputs before it, and no more.
        """
        self.add_fault(name, number)
        with self._changed(name) as total:
            total["seconds"] += seconds
            total["ended"] = sorted({*total["ended"], number})

    @contextlib.contextmanager
    def _changed(self, name: str) -> Iterator[dict[str, Any]]:
        with self._lock:
            total = self.subjects.setdefault(name, self._of(name))
            yield total
            while total["next"] in total["ended"]:
                total["outcomes"][ENDED] = total["outcomes"].get(ENDED, 0) + 1
                total["next"] += 1
            content = json.dumps(self.subjects, indent=1).encode()
            files.replace(self._path, lambda file: file.write(content))

    def faults(self, name: str | None = None) -> int:
        """The number of faults of a subject, or of all."""
        with self._lock:
            subjects = self.subjects if name is None else [name]
            return sum(len(self._of(each)["faults"]) for each in subjects)

    def tried(self) -> int:
        """The number of inputs of all subjects."""
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
                f"| {name} | {found['next']:,} | {found['seconds'] / 3600:.2f} "
                f"| {len(found['faults'])} | {found['slowest'][0]:.2f} s "
                f"| {found['memory'] / 2**20:.0f} MiB |"
            )
        return "\n".join(lines)
