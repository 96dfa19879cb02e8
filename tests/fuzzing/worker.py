"""A process that tries inputs of one subject, and says after every part what became of them.

The runner starts it (`python -m tests.fuzzing`), so that an input that ends the process, hangs or
takes all memory ends nothing else. Every input is written to a file before it is tried. Faults are
saved and reported at once, each as a line of its own, for the part may not come to its end.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tests.fuzzing import subjects
from tests.fuzzing.subjects import Subject

SLOWEST = 10.0
"""Seconds of processor time that an input may take. A fixed-rate model is compiled for every new
size, which takes 2 s."""

MOST_BYTES = 2**28
"""Of memory that all inputs of a process together may take beyond what valid ones take."""

FAULTS_KEPT = 1000
"""Of every subject."""

_CURRENT, _NUMBER_BYTES = "current", 8
"""The file with the number of the input, and with the input, in the folder of the worker."""


class Reports(Protocol):
    """What is to be done while inputs are tried."""

    def begins(self, number: int, data: bytes) -> None:
        """Input `number` is about to be made, when it has no data, or to be tried."""

    def is_fault(self, number: int, reason: str, data: bytes) -> None:
        """Input `number` is a fault. It has no data if it could not be made."""


def tried(subject: Subject, numbers: range, reports: Reports) -> dict[str, Any]:
    """Tries inputs: counts by outcome, the slowest, the memory."""
    counts: collections.Counter[str] = collections.Counter()
    slowest, before = (0.0, -1), peak_bytes()
    began = time.process_time()
    for number in numbers:
        reports.begins(number, b"")
        start = time.process_time()
        data, reason = b"", ""
        try:
            data = subject.mutated(number)
            reports.begins(number, data)
            counts[subject.outcome(number, data)] += 1
        except Exception:
            counts["a fault"] += 1
            reason = traceback.format_exc()
        seconds = time.process_time() - start
        if seconds > SLOWEST:
            reason += f"takes {seconds:.1f} s of processor time\n"
        if reason:
            reports.is_fault(number, reason, data)
        slowest = max(slowest, (seconds, number))
    return {
        "count": len(numbers),
        "outcomes": counts,
        "slowest": slowest,
        "memory": peak_bytes() - before,
        "seconds": time.process_time() - began,
    }


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def silent_libraries() -> Iterator[int]:
    """Sends what native libraries print about damaged files nowhere; gives standard output."""
    out = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    yield out


class _ToRunner:
    """Reports to the runner: the input is in a file, and a fault is a line and two files."""

    def __init__(self, name: str, folder: Path, faults: Path, out: int) -> None:
        self._name, self._faults, self._out = name, faults, out
        self._current = os.open(folder / _CURRENT, os.O_CREAT | os.O_WRONLY)

    def begins(self, number: int, data: bytes) -> None:
        content = number.to_bytes(_NUMBER_BYTES, "little") + data
        os.pwrite(self._current, content, 0)
        os.ftruncate(self._current, len(content))

    def is_fault(self, number: int, reason: str, data: bytes) -> None:
        save_fault(self._faults, self._name, number, reason, data)
        self.line({"fault": number})

    def line(self, found: dict[str, Any]) -> None:
        """Writes a line of JSON."""
        os.write(self._out, json.dumps(found).encode() + b"\n")


def main() -> None:
    """Tries a range of inputs in parts; prints a line of JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject", choices=subjects.SUBJECTS)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("folder", type=Path, help="for the input and for files of the subject")
    parser.add_argument("faults", type=Path, help="where inputs that are faults are saved")
    parser.add_argument("--part", type=int, default=500)
    options = parser.parse_args()
    # As a command does; the libraries of image files warn about many damaged ones.
    warnings.filterwarnings("ignore")
    error = os.dup(2)
    with silent_libraries() as out:
        try:
            subject = subjects.SUBJECTS[options.subject].subject(options.folder)
        except BaseException:
            os.dup2(error, 2)
            raise
        reports = _ToRunner(options.subject, options.folder, options.faults, out)
        for first in range(options.first, options.last, options.part):
            part = range(first, min(first + options.part, options.last))
            reports.line(tried(subject, part, reports))


def save_fault(folder: Path, name: str, number: int, reason: str, data: bytes) -> None:
    """Saves an input and the reason why it is a fault, unless there are many already."""
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob(f"{name}-*.txt"))) < FAULTS_KEPT:
        (folder / f"{name}-{number}.txt").write_text(reason)
        (folder / f"{name}-{number}.input").write_bytes(data)


def current_input(folder: Path) -> tuple[int, bytes] | None:
    """The input that the worker with this folder was at; None if it had not begun."""
    path = folder / _CURRENT
    content = path.read_bytes() if path.exists() else b""
    if len(content) < _NUMBER_BYTES:
        return None
    return int.from_bytes(content[:_NUMBER_BYTES], "little"), content[_NUMBER_BYTES:]


if __name__ == "__main__":
    sys.exit(main())
