"""`rdonet train` by the clock, with its results in one small folder."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEEDED = {
    "jax": "jax", "flax": "flax", "optax": "optax", "numpy": "numpy", "PIL": "pillow",
    "orbax.checkpoint": "orbax-checkpoint", "grain": "grain", "safetensors": "safetensors",
    "yaml": "pyyaml, which flax brings",
}  # fmt: skip
"""Modules, and the packages that have them."""

SCHEDULE = (
    "--stage1-steps", "1000", "--stage2-steps", "9000", "--warmup-steps", "300",
)  # fmt: skip
"""Shares of the time: a tenth with random masks, three percent of warm-up."""

RECIPE = (
    "--resident", "--batch-size", "64", "--random-share", "0.1",
    "--metric", "both", "--ms-ssim-share", "0.5",
    "--learning-rate", "4e-4", "--prior-rate", "4", "--final-rate", "0.02",
    "--ema-decay", "0.9995", "--log-every", "100", "--validation-every", "2000",
    "--checkpoint-every", "1000", "--preview-every", "1000000000", "--export-every", "2",
)  # fmt: skip
"""What the bundled model was trained with, see experiments/standard; no previews."""

MOST_FILES, MOST_BYTES = 8, 16 * 2**20
"""What the results should not exceed, so that they are copied quickly: files, and bytes of each."""

LOG = "log.jsonl"
COPIED = (LOG, "config.json")


class NoAcceleratorError(RuntimeError):
    """Only a CPU is there, and nobody has said that it should train."""


def missing_packages() -> list[str]:
    """What training needs and this Python does not have."""
    return [package for module, package in NEEDED.items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def run(options: argparse.Namespace, more: Sequence[str], began: float) -> int:
    """Trains, copies the log, prints the summary; returns the exit code."""
    if missing := missing_packages():
        print(f"train: missing here: {', '.join(missing)}", file=sys.stderr)
        return 1
    # So that a second command on the same machine does not compile again. JAX reads these once.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((options.state / "jax").absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    from experiments.campaign import packing
    from rdonet_jax.cli import program
    from rdonet_jax.training.folder import run_log

    expected = (*packing.EXPECTED, NoAcceleratorError, run_log.LogError)
    return program.exit_code(lambda: _train(options, more, began), expected, "train")


def _train(options: argparse.Namespace, more: Sequence[str], began: float) -> int:
    """As `run`, once everything is there. Raises OSError and errors of images and of the log."""
    from experiments.campaign import packing
    from rdonet_jax.cli.commands import train

    if not options.cpu and "--distributed" not in more:  # hosts join before JAX starts
        _require_accelerator()
    _prepare_out(options)
    folders = packing.unpacked(options.data, options.state / "images")
    code = train.run(arguments(options, more, folders), "rdonet train", began)
    for name in COPIED:
        if (options.state / "run" / name).exists():
            shutil.copyfile(options.state / "run" / name, options.out / name)
    if (options.out / LOG).exists():
        print(summary(options.out))
    return code


def _require_accelerator() -> None:
    """Raises `NoAcceleratorError` where JAX would train on a CPU without having been asked to.

    JAX uses a CPU without a word where it was installed for no accelerator or finds none, and the
    lent time of the machine would be lost.
    """
    import jax

    if os.environ.get("JAX_PLATFORMS") != "cpu" and jax.default_backend() == "cpu":
        raise NoAcceleratorError(
            "JAX finds no accelerator on this machine; --cpu trains on the CPU all the same"
        )


def _prepare_out(options: argparse.Namespace) -> None:
    """Makes the folder of the results. Raises OSError where a new run would mix with another."""
    is_new = not options.resume
    if is_new and (options.state / "run").exists():
        raise OSError(f"{options.state}: holds a run; --resume goes on with it")
    options.out.mkdir(parents=True, exist_ok=True)
    if is_new and any(options.out.iterdir()):
        raise OSError(f"{options.out}: is not empty")


def arguments(
    options: argparse.Namespace, more: Sequence[str], folders: tuple[Path, Path]
) -> list[str]:
    """The command line of `rdonet train`. What is given again in `more` counts."""
    minutes = [] if options.minutes is None else ["--minutes", f"{options.minutes:g}"]
    return [
        "--preset", options.preset, "--data", str(folders[0]), "--valid", str(folders[1]),
        "--run", str(options.state / "run"), "--export-to", str(options.out),
        *minutes, *SCHEDULE, *RECIPE, *(["--resume"] if options.resume else []), *more,
    ]  # fmt: skip


def summary(out: Path) -> str:
    """One line: the steps, the device, the speed, the last validation, and the newest weights."""
    from rdonet_jax.training.folder import exports, run_log

    lines: list[dict[str, Any]] = run_log.read(out / LOG)
    validations = [line["validation"] for line in lines if "validation" in line]
    speeds = [speed for line in lines if (speed := line.get("crops_per_second")) is not None]
    devices = [line["device"] for line in lines if "device" in line]
    parts = [f"{lines[-1]['step'] if lines else 0} steps"]
    parts += [f"on {device}" for device in devices[-1:]]
    if speeds:
        parts.append(f"{statistics.median(speeds):.1f} crops/s")
    for last in validations[-1:]:
        bpp, psnr = _shown(last["bpp"], 4), _shown(last["psnr"], 2)
        parts.append(f"validation {bpp} bpp {psnr} dB")
    # After a run went back, the newest file may be of fewer steps than another one.
    newest = sorted(exports.weights_files(out), key=lambda path: path.stat().st_mtime_ns)[-1:]
    parts += [path.name for path in newest]
    return "campaign: " + ", ".join([*parts, *complaints(out)])


def _shown(value: float | None, digits: int) -> str:
    """A number of the log, which has null for those that are not finite."""
    return "not-finite" if value is None else f"{value:.{digits}f}"


def complaints(out: Path) -> list[str]:
    """What exceeds the size that results should have."""
    files = sorted(path for path in out.iterdir() if path.is_file())
    found = [f"{path.name} is too large" for path in files if path.stat().st_size > MOST_BYTES]
    return found + ([f"{len(files)} files are too many"] if len(files) > MOST_FILES else [])
