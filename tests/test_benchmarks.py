"""The benchmarks begin: what they import is there."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
ELSEWHERE = {"speed_compressai", "training_compressai", "tfc_bits"}
"""Scripts for environments of their own, with PyTorch or TensorFlow."""


def test_every_benchmark_finds_what_it_imports():
    names = sorted({path.stem for path in FOLDER.glob("*.py")} - ELSEWHERE)
    assert len(names) > 20
    script = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-500:]
