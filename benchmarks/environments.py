"""Separate environments for packages to compare with, whose requirements conflict with ours.

An environment is made on first use, by the Python that runs the benchmark, and kept.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMPRESSAI = ("compressai==1.2.8", "torch==2.14.1", "torchvision==0.29.1")
TENSORFLOW_COMPRESSION = ("tensorflow-compression==2.14.1", "tensorflow==2.14.1", "numpy==1.26.4")
"""The full package with its entropy models, which needs Python 3.11 or older."""


def default_folder(requirements: tuple[str, ...]) -> Path:
    """The default folder of an environment, named by its first requirement."""
    return Path.home() / ".cache" / "rdonet-jax" / requirements[0].partition("==")[0]


def install(environment: Path, requirements: tuple[str, ...]) -> None:
    """Makes an environment of these packages, unless a complete one exists."""
    done = environment / "complete"
    if done.exists() and done.read_text().split() == list(requirements):
        return
    print(f"installing {', '.join(requirements)} in {environment}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements]
    subprocess.run(pip, check=True)
    done.write_text("\n".join(requirements))
