"""An environment of its own for CompressAI and PyTorch, for benchmarks that compare with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = ("compressai==1.2.8", "torch==2.15.0", "torchvision==0.29.2")
ENVIRONMENT = Path.home() / ".cache" / "rdonet-jax" / "compressai"


def install(environment: Path) -> None:
    """Makes CompressAI's environment unless it is there, complete."""
    done = environment / "complete"
    if done.exists() and done.read_text().split() == list(REQUIREMENTS):
        return
    print(f"installing {', '.join(REQUIREMENTS)} in {environment}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    subprocess.run(pip, check=True)
    done.write_text("\n".join(REQUIREMENTS))
