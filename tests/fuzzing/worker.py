"""A process that tries inputs of one subject, and says after every part what became of them.

The runner starts it (`python -m tests.fuzzing`), so that an input that ends the process, hangs or
takes all memory ends nothing else. Before every input its number is written to a file. Faults are
reported at once, each as a line of its own, for the part may not come to its end.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzzing import subjects
from tests.fuzzing.subjects import Subject

SLOWEST = 10.0
"""Seconds of processor time that an input may take. A fixed-rate model is compiled for every new
size, which takes 2 s."""

MOST_BYTES = 2**28
"""Of memory that all inputs of a process together may take beyond what valid ones take."""

_CURRENT, _NUMBER_BYTES = "current", 8
"""The file with the number of the input, in the folder of the worker."""


def tried(
    subject: Subject,
    numbers: range,
    add_fault: Callable[[int, str], None],
    about_to_try: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Tries inputs: counts by outcome, the slowest, the memory.

    `add_fault` gets the number of an input that is a fault, and the reason.
    """
    counts: collections.Counter[str] = collections.Counter()
    slowest, before = (0.0, -1), peak_bytes()
    began = time.process_time()
    for number in numbers:
        about_to_try(number)
        start = time.process_time()
        try:
            data = subject.mutated(number)
            counts[subject.outcome(number, data)] += 1
        except Exception:
            counts["a fault"] += 1
            add_fault(number, traceback.format_exc())
        seconds = time.process_time() - start
        if seconds > SLOWEST:
            add_fault(number, f"takes {seconds:.1f} s of processor time\n")
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


def main() -> None:
    """Tries a range of inputs in parts; prints a line of JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject", choices=subjects.SUBJECTS)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("folder", type=Path, help="for the number and for files of the subject")
    parser.add_argument("--part", type=int, default=500)
    parser.add_argument("--save", type=Path, help="write the first input here and do nothing else")
    options = parser.parse_args()
    # As a command does; the libraries of image files warn about many damaged ones.
    warnings.filterwarnings("ignore")
    with open(options.folder / _CURRENT, "wb", 0) as current:
        error = os.dup(2)
        with silent_libraries() as out:
            try:
                subject = subjects.SUBJECTS[options.subject](options.folder)
            except BaseException:
                os.dup2(error, 2)
                raise
            if options.save:
                options.save.write_bytes(subject.mutated(options.first))
                return

            def note(number: int) -> None:
                os.pwrite(current.fileno(), number.to_bytes(_NUMBER_BYTES, "little"), 0)

            def report(found: dict[str, Any]) -> None:
                os.write(out, json.dumps(found).encode() + b"\n")

            def report_fault(number: int, reason: str) -> None:
                report({"fault": [number, reason]})

            for first in range(options.first, options.last, options.part):
                part = range(first, min(first + options.part, options.last))
                report(tried(subject, part, report_fault, note))


def current_number(folder: Path) -> int | None:
    """The input that the worker with this folder was at; None if it had not begun."""
    path = folder / _CURRENT
    content = path.read_bytes() if path.exists() else b""
    return int.from_bytes(content, "little") if len(content) == _NUMBER_BYTES else None


if __name__ == "__main__":
    sys.exit(main())
