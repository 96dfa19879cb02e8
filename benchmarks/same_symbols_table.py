"""Files of many environments, each read by all: what `same_symbols.py table` runs and prints."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_name("same_symbols.py")
ROOT = SCRIPT.parent.parent


class Setting(NamedTuple):
    """How a process computes."""

    engine: str
    variables: Mapping[str, str] = {}
    options: Sequence[str] = ()


WRITERS = {"NumPy": Setting("numpy"), "JAX": Setting("jax")}

ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

SETTINGS = {
    **WRITERS,
    "NumPy, one thread": Setting("numpy", ONE_CORE),
    "NumPy, kernels for Prescott": Setting("numpy", {"OPENBLAS_CORETYPE": "Prescott"}),
    "NumPy, kernels for Sandybridge": Setting("numpy", {"OPENBLAS_CORETYPE": "Sandybridge"}),
    "NumPy, kernels for Haswell": Setting("numpy", {"OPENBLAS_CORETYPE": "Haswell"}),
    "NumPy, kernels for SkylakeX": Setting("numpy", {"OPENBLAS_CORETYPE": "SkylakeX"}),
    "NumPy, kernels for Zen": Setting("numpy", {"OPENBLAS_CORETYPE": "Zen"}),
    "NumPy, denormals flushed": Setting("numpy", ONE_CORE, ["--flush-denormals"]),
    "NumPy, rounding down": Setting("numpy", ONE_CORE, ["--rounding", "down"]),
    "NumPy, rounding up": Setting("numpy", ONE_CORE, ["--rounding", "up"]),
    "NumPy, rounding to zero": Setting("numpy", ONE_CORE, ["--rounding", "zero"]),
    "JAX, AVX2": Setting("jax", {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}),
    "JAX, SSE4.2": Setting("jax", {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}),
    "JAX, one thread": Setting("jax", {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}),
    "JAX, fast math": Setting("jax", {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}),
}


def _cell(found: Mapping[str, float]) -> str:
    """Files with the same symbols, the largest difference of a sample, and how many differ."""
    text = f"{found['equal']} of {found['count']}, {found['largest']}"
    return f"{text}, {found['refused']} refused" if found["refused"] else text


def _run(
    python: str, setting: Setting, what: str, folders: Sequence[Path], more: Sequence[str]
) -> str:
    """Runs `same_symbols.py` in an environment; returns its last line. Raises `SystemExit`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    options = ["--engine", setting.engine, *more, *(setting.options if what == "read" else ())]
    done = subprocess.run(
        [python, SCRIPT, what, *folders, *options],
        env=environment | dict(setting.variables), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{python} {what}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip().splitlines()[-1]


def environments(given: Sequence[str]) -> dict[str, str]:
    """Interpreters by name, from NAME=PATH; this one alone if none is given."""
    return dict(each.split("=", 1) for each in given) or {"this": sys.executable}


def table(options: argparse.Namespace) -> None:
    """Writes with every interpreter, reads with every interpreter and setting, prints the table.

    Files that are there already are not written again. Raises `SystemExit` if any file that was
    read in the usual direction of rounding has other symbols.
    """
    given = environments(options.python)
    more = ["--model", options.model, "--count", str(options.count)]
    more += ["--side", str(options.side)] if options.side else []
    more += ["--images", str(options.images)] if options.images else []
    folders: dict[str, Path] = {}
    for name, python in given.items():
        for kind, setting in WRITERS.items():
            folder = options.folder[0] / f"{name}-{kind}".replace(" ", "-")
            folders[f"{name}, {kind}"] = folder
            if not (folder / "symbols.json").exists():
                _run(python, setting, "write", [folder], more)
    print("| read with | " + " | ".join(folders) + " |")
    print("|---|" + "---|" * len(folders), flush=True)
    wrong, reading = 0, ["--model", options.model, "--json"]
    for name, python in given.items():
        settings = SETTINGS if name == next(iter(given)) else WRITERS
        for words, setting in settings.items():
            output = _run(python, setting, "read", [*folders.values()], reading)
            results = json.loads(output)
            if "--rounding" not in setting.options:
                wrong += sum(found["equal"] != found["count"] for found in results)
            print(f"| {name}, {words} | {' | '.join(map(_cell, results))} |", flush=True)
    if wrong:
        raise SystemExit("not all files decode to the symbols that were written")
