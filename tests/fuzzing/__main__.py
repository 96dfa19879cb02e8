"""Tries hostile inputs for as long as one likes; the same command again goes on where it stopped.

    python -m tests.fuzzing FOLDER [--subjects NAMES] [--jobs N] [--until COUNT] [--seconds SECONDS]

FOLDER holds the state: how many inputs of each subject were tried and what became of them. Every
input that raises what it must not, ends the process, hangs, or takes too much time or memory is
saved there in `faults`, with the reason. Ctrl-C ends the run, and the part that was under way is
tried again the next time. `--report` prints what there is and tries nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.fuzzing import subjects, worker
from tests.fuzzing.state import State, Turn

TURN_COUNT, TURN_SECONDS = 200_000, 1800.0
"""The most inputs and about the most seconds of a process; then another subject has its turn."""

HANG = 600.0
"""Seconds without a new input after which a process is taken to hang."""

ENDED_FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that no input sends."""

ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Small computations gain nothing by several threads."""


class Run:
    """A run of several processes at a time, each of which tries another subject.

    Args:
      folder: of the state and of the faults.
      shares: of the subjects in the time, by name.
      part: inputs between two writings of the state.
      until: the inputs of all subjects, of this run and those before.
      seconds: after which the run ends.
    """

    def __init__(
        self, folder: Path, shares: dict[str, int], part: int, until: int, seconds: float
    ) -> None:
        self.state = State(folder)
        self._faults, self._shares, self._part = folder / "faults", shares, part
        self._until, self._end = until, time.monotonic() + seconds
        self._stopped = threading.Event()

    def go(self, jobs: int) -> None:
        """Tries inputs until all are tried, the time is over, or Ctrl-C comes."""
        running: list[concurrent.futures.Future[None]] = []
        with (
            contextlib.suppress(KeyboardInterrupt),
            concurrent.futures.ThreadPoolExecutor(jobs) as pool,
        ):
            try:
                running += [pool.submit(self._run_turns, jobs) for _ in range(jobs)]
                concurrent.futures.wait(running, return_when="FIRST_EXCEPTION")
            finally:
                self._stopped.set()
        for job in running:
            job.result()

    def _run_turns(self, jobs: int) -> None:
        """Turns of one process after the other, while there is something left."""
        while not self._stopped.is_set() and time.monotonic() < self._end:
            # Towards the end every process gets a share.
            left = max(-(-(self._until - self.state.tried()) // jobs), self._part)
            with self.state.turn(self._shares, min(TURN_COUNT, left), self._until) as turn:
                if turn:
                    with subjects.temporary_folder() as folder:
                        self._try_inputs(turn, Path(folder))
                    counts = f"{self.state.tried():,} inputs, {self.state.faults()} faults"
                    print(counts, flush=True)
            if turn is None:
                if self.state.is_finished(self._until):
                    return
                # A turn of another process may end early, and leave something.
                self._stopped.wait(0.2)

    def _try_inputs(self, turn: Turn, folder: Path) -> None:
        """Lets a process try the inputs of a turn, which ends early with the time of the run."""
        last = turn.first + turn.count
        command = _command(turn.name, turn.first, last, folder, self._faults, "--part", self._part)
        process = subprocess.Popen(
            command, env=_environment(), stdout=subprocess.PIPE, process_group=0
        )
        watch = _Watch(process, folder)
        try:
            is_whole = self._follow(process, watch, turn.name)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if is_whole and process.returncode:
            self._add_end(turn.name, folder, watch, process.returncode)

    def _follow(self, process: subprocess.Popen, watch: _Watch, name: str) -> bool:
        """Adds what a process finds. False if it is to be ended before it has ended by itself."""
        end = min(time.monotonic() + TURN_SECONDS, self._end)
        os.set_blocking(process.stdout.fileno(), False)
        rest = b""
        while True:
            ended = process.poll() is not None
            rest += process.stdout.read() or b""
            *lines, rest = rest.split(b"\n")
            found = [json.loads(line) for line in lines]
            for each in found:
                if "fault" in each:
                    self.state.add_fault(name, each["fault"])
                else:
                    self.state.add(name, each)
                    watch.since_part = time.monotonic()
            if ended:
                return True
            if self._stopped.is_set() or (found and time.monotonic() > end):
                return False
            watch.look()
            time.sleep(0.2)

    def _add_end(self, name: str, folder: Path, watch: _Watch, code: int) -> None:
        """A process that ended before its last input: the one it was at is a fault.

        Unless somebody has ended it, as the system does when it is shut down.
        """
        current = worker.current_input(folder)
        if current is None:
            raise SystemExit(
                f"{name}: its process ended with the code {code} before the first input"
            )
        if -code in ENDED_FROM_OUTSIDE:
            print(f"{name}: a process was ended by {signal.Signals(-code).name}", flush=True)
            return
        number, data = current
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        reason = watch.reason or f"the process ended: {ended}\n"
        if number < self.state.next(name):
            raise SystemExit(f"{name}: after input {number}, {reason}")
        worker.save_fault(self._faults, name, number, reason, data)
        self.state.add_end(name, number, time.monotonic() - watch.since_part)


def _command(name: str, first: int, last: int, folder: Path, faults: Path, *more: Any) -> list[str]:
    arguments = (name, first, last, folder, faults, *more)
    return [sys.executable, "-m", "tests.fuzzing.worker", *map(str, arguments)]


def _environment() -> dict[str, str]:
    return os.environ | ONE_THREAD


class _Watch:
    """Ends a process that stays at one input, or takes too much memory."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self._process, self._folder = process, folder
        self._last, self._since = None, time.monotonic()
        self._first_bytes = None
        self.since_part = time.monotonic()
        self.reason = ""

    def look(self) -> None:
        """To be called often."""
        current = worker.current_input(self._folder)
        number = current and current[0]
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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", nargs="+", choices=subjects.SUBJECTS, help="default: all")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, 1 or more")
    parser.add_argument("--until", type=int, default=10_000_000, help="inputs of all subjects")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument(
        "--part", type=int, default=500, help="inputs between two writings of state"
    )
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be 1 or more")
    # A closed terminal and `timeout` end the run as Ctrl-C does, also in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options.folder.mkdir(parents=True, exist_ok=True)
    names = options.subjects or subjects.SUBJECTS
    shares = {name: subjects.SUBJECTS[name].share for name in names}
    run = Run(options.folder, shares, options.part, options.until, options.seconds)
    if not options.report:
        run.go(options.jobs)
    print(run.state.text())
    if run.state.faults():
        raise SystemExit(f"faults, see {options.folder / 'faults'}")


if __name__ == "__main__":
    main()
