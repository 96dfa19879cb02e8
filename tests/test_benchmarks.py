"""The benchmarks begin: what they import is there, and images of a folder are all measured."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np

from rdonet_jax.imaging import srgb
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


def test_images_of_the_same_name_in_two_folders_are_both_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    images_of_folder = importlib.import_module("images_of_folder")
    (tmp_path / "deeper").mkdir()
    for value, name in enumerate(("a.png", "deeper/a.png")):
        srgb.save(tmp_path / name, np.full((8, 8, 3), value, np.uint8))
    options = images_of_folder.parser("Any.").parse_args([str(tmp_path)])
    found = images_of_folder.named_images(options)
    assert {name: int(pixels.max()) for name, pixels in found.items()} == {
        "a.png": 0, "deeper/a.png": 1,
    }  # fmt: skip
