"""Tries hostile inputs for as long as one likes; the same command again goes on where it stopped.

    python -m tests.fuzzing FOLDER [--subjects NAMES] [--until COUNT] [--seconds SECONDS]

FOLDER holds the state: how many inputs of each subject were tried and what became of them. Every
input that raises what it must not, ends the process, hangs, or takes too much time or memory is
saved there in `faults`, with the reason. Ctrl-C ends the run after the current part. `--report`
prints what there is and tries nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rdonet_jax.core import files
from tests.fuzzing import subjects, worker

TURN_COUNT, TURN_SECONDS = 20_000, 600.0
"""The most inputs and about the most seconds of a process; then another subject has its turn."""

HANG = 600.0
"""Seconds without a new input after which a process is taken to hang."""

FAULTS_KEPT = 1000

ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Small computations gain nothing by several threads."""


class State:
    """What was tried so far, in a file that is written anew after every part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "faults").mkdir(parents=True, exist_ok=True)
        self._path = folder / "state.json"
        self.subjects: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self.subjects = json.loads(self._path.read_text())

    def of(self, name: str) -> dict[str, Any]:
        """What was tried of a subject."""
        empty = {"next": 0, "outcomes": {}, "faults": 0, "slowest": [0.0, -1], "memory": 0}
        return self.subjects.setdefault(name, empty | {"seconds": 0.0})

    def add(self, name: str, part: dict[str, Any]) -> None:
        """Adds the findings of a part, and saves the inputs that are faults."""
        total = self.of(name)
        for words, count in part["outcomes"].items():
            total["outcomes"][words] = total["outcomes"].get(words, 0) + count
        total["slowest"] = max(total["slowest"], part["slowest"])
        total["memory"] = max(total["memory"], part["memory"])
        total["seconds"] += part["seconds"]
        for number, reason in part["faults"]:
            self.add_fault(name, number, reason)
        total["next"] += part["count"]
        self.save()

    def add_fault(self, name: str, number: int, reason: str) -> None:
        """Saves an input with the reason why it is a fault."""
        total = self.of(name)
        total["faults"] += 1
        if total["faults"] > FAULTS_KEPT:
            return
        place = self.folder / "faults" / f"{name}-{number}"
        place.with_suffix(".txt").write_text(reason)
        save = ("--save", place.with_suffix(".input"))
        subprocess.run(_command(name, number, number + 1, self.folder, *save), env=_environment())

    def save(self) -> None:
        """Writes the state."""
        content = json.dumps(self.subjects, indent=1).encode()
        files.replace(self._path, lambda file: file.write(content))

    def text(self) -> str:
        """A table by subject."""
        lines = [
            "| inputs | tried | hours | faults | slowest | memory |",
            "|---|---|---|---|---|---|",
        ]
        for name, found in self.subjects.items():
            lines.append(
                f"| {name} | {found['next']:,} | {found['seconds'] / 3600:.2f} | {found['faults']} "
                f"| {found['slowest'][0]:.2f} s | {found['memory'] / 2**20:.0f} MiB |"
            )
        return "\n".join(lines)


def _command(name: str, first: int, last: int, folder: Path, *more: Any) -> list[str]:
    arguments = (name, first, last, "--current", folder / f"{name}.current", *more)
    return [sys.executable, "-m", "tests.fuzzing.worker", *map(str, arguments)]


def _environment() -> dict[str, str]:
    return os.environ | ONE_THREAD


def take_turn(state: State, name: str, count: int, part: int, until: float) -> bool:
    """Lets a process try the next inputs of a subject. Returns whether it may go on after that."""
    first = state.of(name)["next"]
    current = state.folder / f"{name}.current"
    current.unlink(missing_ok=True)
    process = subprocess.Popen(
        _command(name, first, first + count, state.folder, "--part", part),
        env=_environment(), stdout=subprocess.PIPE, process_group=0,
    )  # fmt: skip
    watch = _Watch(process, current)
    turn_until = time.monotonic() + TURN_SECONDS
    stopped = False
    try:
        os.set_blocking(process.stdout.fileno(), False)
        rest = b""
        while True:
            ended = process.poll() is not None
            rest += process.stdout.read() or b""
            *lines, rest = rest.split(b"\n")
            for line in lines:
                state.add(name, json.loads(line))
            if ended:
                break
            if lines and time.monotonic() > min(turn_until, until):
                process.kill()
                process.wait()
                return True
            watch.look()
            time.sleep(0.2)
    except KeyboardInterrupt:
        stopped = True
    if stopped:
        process.kill()
        process.wait()
        return False
    process.wait()
    if process.returncode:
        _note_end(state, name, process.returncode, watch.reason)
    return True


class _Watch:
    """Ends a process that stays at one input, or takes too much memory."""

    def __init__(self, process: subprocess.Popen, current: Path) -> None:
        self._process, self._current = process, current
        self._last, self._since = None, time.monotonic()
        self._first_bytes = None
        self.reason = ""

    def look(self) -> None:
        """To be called often."""
        number = worker.current_number(self._current)
        if number != self._last:
            self._last, self._since = number, time.monotonic()
        memory = _resident_bytes(self._process.pid)
        if number is not None and self._first_bytes is None:
            self._first_bytes = memory
        if number is not None and time.monotonic() - self._since > HANG:
            self.reason = f"hangs: more than {HANG:.0f} s\n"
        elif self._first_bytes and memory - self._first_bytes > worker.MOST_BYTES:
            self.reason = f"takes {(memory - self._first_bytes) / 2**20:.0f} MiB\n"
        if self.reason:
            self._process.kill()


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _note_end(state: State, name: str, code: int, reason: str) -> None:
    """A process that ended before its last input: the one it was at is a fault."""
    number = worker.current_number(state.folder / f"{name}.current")
    if number is None:
        raise SystemExit(f"{name}: its process ended with the code {code} before the first input")
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    state.add_fault(name, number, reason or f"the process ended: {ended}\n")
    total = state.of(name)
    skipped = number + 1 - total["next"]
    # Those of the part before it are tried again by nobody: they were without a fault.
    total["outcomes"]["before one that ended the process"] = (
        total["outcomes"].get("before one that ended the process", 0) + skipped
    )
    total["next"] = number + 1
    state.save()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", nargs="+", choices=subjects.SUBJECTS, help="default: all")
    parser.add_argument("--until", type=int, default=10_000_000, help="inputs of all subjects")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument(
        "--part", type=int, default=500, help="inputs between two writings of state"
    )
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    state = State(options.folder)
    names = options.subjects or list(subjects.SUBJECTS)
    until = time.monotonic() + options.seconds

    def tried() -> int:
        return sum(found["next"] for found in state.subjects.values())

    going = not options.report
    while going and tried() < options.until and time.monotonic() < until:
        name = min(names, key=lambda each: state.of(each)["seconds"])
        count = min(TURN_COUNT, options.until - tried())
        going = take_turn(state, name, count, options.part, until)
        print(f"{tried():,} inputs, {sum(s['faults'] for s in state.subjects.values())} faults",
              flush=True)  # fmt: skip
    print(state.text())
    if any(found["faults"] for found in state.subjects.values()):
        raise SystemExit(f"faults, see {options.folder / 'faults'}")


if __name__ == "__main__":
    main()
