"""Sends signals to commands at random moments, from the start of the process on.

    python -m tests.stress.interruptions FOLDER [--moments 300] [--seed 0] [--commands NAMES]

Every moment is a pure function of seed and number: a command, a signal, and a share of the time
that the command takes when nobody interrupts it. FOLDER keeps what was seen; the same command again
goes on after the last moment. Afterwards the exit code must be one that is documented, standard
error must hold no traceback, and every file must be as before, or as the whole command makes it.
Only while Python itself starts, before the first line of the package, Ctrl-C is answered by Python.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests import hasty_xla
from tests.fuzzing import subjects

ROOT = Path(__file__).parent.parent.parent

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TEMPORARY = "temporary"
"""The folder for temporary files, which has to be empty in the end."""

LATEST = 1.05
"""The last moment, as a share of the time that the command takes."""

TIMEOUT = 300
"""Seconds after a signal within which a command has to end."""

TRAINING = (
    *("--preset", "tiny", "--crop", "64", "--batch-size", "2", "--steps", "60"),
    *("--log-every", "5", "--validation-every", "1000", "--checkpoint-every", "5"),
    *("--preview-every", "1000"),
)


class Command(NamedTuple):
    """A command in a folder that `prepared` has filled.

    Attributes:
      arguments: of `rdonet`.
      outputs: files that it writes, by name, each of which is old, new or absent.
      codes: exit codes after a signal, beside those of a process that the signal ends.
      made_anew: whether the outputs depend on when the command is run.
      stdin: the file that goes to standard input.
    """

    arguments: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    codes: Mapping[int, tuple[int, ...]] = {}
    made_anew: bool = False
    stdin: str = os.devnull


NAMES = tuple(f"{number}.png" for number in range(4))

COMMANDS = {
    "compress": Command(("compress", "0.png", "out.rdo", "--force"), ("out.rdo",)),
    "decompress": Command(("decompress", "0.rdo", "out.png", "--force"), ("out.png",)),
    "streams": Command(("compress", "-", "-"), stdin="0.png"),
    "many": Command(
        ("compress", *NAMES, "--out-dir", "many", "-j", "2", "--model", "mini.safetensors"),
        tuple(f"many/{name}.rdo" for name in NAMES),
    ),
    # Ctrl-C ends the search, and the best file so far is written.
    "search": Command(
        ("compress", "0.png", "out.rdo", "--force", "--rdo", "2", "--model", "mini.safetensors"),
        ("out.rdo",),
        {signal.SIGINT: (0,)},
        made_anew=True,
    ),
    # SIGTERM ends a training run after the step, with a checkpoint; before that, as usual.
    "train": Command(
        ("train", "--data", "images", "--run", "run", *TRAINING), codes={signal.SIGTERM: (0,)}
    ),
    "export": Command(("train", "export", "run-done", "toy", "--out", "weights"), ("weights/*",)),
}


class Moment(NamedTuple):
    """What happens when."""

    number: int
    command: str
    signal: int
    share: float


def moment(seed: int, number: int, names: tuple[str, ...]) -> Moment:
    """Moment `number`, of these commands in turn."""
    chance = random.Random(f"{seed} {number}")
    return Moment(
        number, names[number % len(names)], int(chance.choice(SIGNALS)), LATEST * chance.random()
    )


class Workspace:
    """The folder in which commands run, and what they make there when nothing stops them."""

    def __init__(self, folder: Path, names: Sequence[str] = tuple(COMMANDS)) -> None:
        self.folder = folder
        self._names = names
        self._template = folder / "template"
        self._seconds: dict[str, float] = {}
        self._results: dict[str, dict[str, str]] = {}
        if not (self._template / "ready").exists():
            self._make_template()

    def _make_template(self) -> None:
        shutil.rmtree(self._template, ignore_errors=True)
        (self._template / "images").mkdir(parents=True)
        (self._template / TEMPORARY).mkdir()
        rng = np.random.default_rng(0)
        for number, name in enumerate(NAMES):
            size = (96 + 32 * number, 128 + 32 * number)
            smooth = np.add.outer(np.arange(size[0]), np.arange(size[1]))[..., None] + [0, 20, 40]
            pixels = (smooth + rng.integers(0, 30, (*size, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(self._template / name)
            shutil.copy(self._template / name, self._template / "images" / name)
        weights = subjects.mini_weights()
        shutil.copy(weights, self._template / weights.name)
        for old in ("out.rdo", "out.png"):
            (self._template / old).write_bytes(b"old")
        self._finish(["compress", "0.png", "0.rdo"])
        if "export" in self._names:
            self._finish([*COMMANDS["train"].arguments[:4], "run-done", *TRAINING])
        (self._template / "ready").touch()

    def _finish(self, arguments: list[str]) -> None:
        done = subprocess.run(
            self._line(arguments), cwd=self._template, env=self._environment(),
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _line(self, arguments: list[str] | tuple[str, ...]) -> list[str]:
        weights = subjects.mini_weights().name
        given = [weights if word == "mini.safetensors" else word for word in arguments]
        return [sys.executable, "-m", "rdonet_jax", *given]

    def _environment(self) -> dict[str, str]:
        cache = {"XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONPATH": str(ROOT)}
        # Training keeps no compiled code by itself.
        compiled = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        quick = {"XLA_FLAGS": hasty_xla.flags(), "TF_CPP_MIN_LOG_LEVEL": "3"}
        return os.environ | cache | compiled | quick | {"JAX_PLATFORMS": "cpu"}

    def _fresh(self) -> Path:
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._template, work)
        return work

    def _start(self, name: str, work: Path) -> subprocess.Popen:
        environment = self._environment() | {"TMPDIR": str(work / TEMPORARY)}
        with usual_signals(), open(work / COMMANDS[name].stdin) as stdin:
            return subprocess.Popen(
                self._line(COMMANDS[name].arguments), cwd=work, env=environment, stdin=stdin,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip

    def seconds(self, name: str) -> float:
        """How long a command takes, the second time it runs."""
        if name not in self._seconds:
            for _ in range(2):
                work, began = self._fresh(), time.monotonic()
                process = self._start(name, work)
                _, err = process.communicate()
                assert process.returncode == 0, _text(err)
                self._seconds[name] = time.monotonic() - began
            self._results[name] = outputs(work, COMMANDS[name])
        return self._seconds[name]

    def interrupted(self, chosen: Moment) -> tuple[int, str, list[str]]:
        """Interrupts a command: exit code, standard error, and what is wrong in words."""
        command = COMMANDS[chosen.command]
        delay = chosen.share * self.seconds(chosen.command)
        work = self._fresh()
        before = outputs(work, command)
        process = self._start(chosen.command, work)
        time.sleep(delay)
        process.send_signal(chosen.signal)
        try:
            _, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, err = process.communicate()
            return (
                -signal.SIGKILL,
                _text(err),
                [f"does not end within {TIMEOUT} s"],
            )
        err = _text(err)
        expected = self._results[chosen.command]
        complaints = [
            *_wrong_end(process.returncode, err, chosen.signal, command),
            *_wrong_files(work, command, before, expected),
        ]
        return process.returncode, err, complaints


@contextlib.contextmanager
def usual_signals() -> Iterator[None]:
    """Lets no signal be ignored: processes that are started would ignore it as well."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _text(output: bytes) -> str:
    return output.decode(errors="replace")


def outputs(work: Path, command: Command) -> dict[str, str]:
    """The files that a command writes and that are there, by the hash of their content."""
    found = [path for pattern in command.outputs for path in work.glob(pattern)]
    return {
        str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found
    }


def is_by_python(err: str) -> bool:
    """Whether a traceback of Ctrl-C is from before the first line of the package.

    While Python itself starts, about a tenth of a second, no program can catch signals.
    """
    last = err.strip().rpartition("\n")[2]
    return last == "KeyboardInterrupt" and str(ROOT / "rdonet_jax") not in err


def _wrong_end(code: int, err: str, number: int, command: Command) -> list[str]:
    if number == signal.SIGINT and is_by_python(err):
        return []
    # The system gives -N for a process that signal N ended, where shells say 128 + N.
    allowed = {0, 128 + number, -number, *command.codes.get(number, ())}
    wrong = [f"exit code {code}"] if code not in allowed else []
    words = ("Traceback", "Fatal Python error", "Exception ignored", "core dumped")
    return wrong + [f"standard error has {word!r}" for word in words if word in err]


def _wrong_files(
    work: Path, command: Command, before: dict[str, str], expected: dict[str, str]
) -> list[str]:
    wrong = [
        f"{path.relative_to(work)} is left"
        for path in work.rglob("*")
        if path.suffix == ".part" or path.name.startswith("core") or path.parent.name == TEMPORARY
    ]
    for name, content in outputs(work, command).items():
        if content == before.get(name) or content == expected.get(name):
            continue
        if not (command.made_anew and _decodes(work / name)):
            wrong.append(f"{name} is neither the old file nor the new one")
    return wrong + [f"{name} is gone" for name in before.keys() - outputs(work, command).keys()]


def _decodes(path: Path) -> bool:
    from rdonet_jax import api

    try:
        api.decompress(path.read_bytes(), model=subjects.mini_weights())
    except ValueError:
        return False
    return True


def seen_so_far(log: Path) -> list[dict]:
    """What was seen, a line of JSON for every moment."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--moments", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / f"seen-{options.seed}.jsonl"
    seen = seen_so_far(log)
    workspace = Workspace(options.folder.resolve(), options.commands)
    for number in range(len(seen), options.moments):
        chosen = moment(options.seed, number, tuple(options.commands))
        code, err, complaints = workspace.interrupted(chosen)
        seen.append({**chosen._asdict(), "code": code, "wrong": complaints})
        if complaints:
            seen[-1]["stderr"] = err[-3000:]
            print(f"{chosen}: {complaints}", flush=True)
        with open(log, "a") as file:
            file.write(json.dumps(seen[-1]) + "\n")
    counts = collections.Counter((s["command"], s["code"]) for s in seen)
    for (name, code), count in sorted(counts.items()):
        print(f"{count:>5}  {name}, exit code {code}")
    faults = sum(bool(s["wrong"]) for s in seen)
    print(f"{len(seen)} moments, {faults} faults")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
