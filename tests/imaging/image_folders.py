"""Folders of empty image files, and what is found below them."""

from __future__ import annotations

import warnings
from pathlib import Path

from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.dataset import DatasetWarning


def plant(root: Path, *names: str) -> Path:
    """Empty files: finding images opens none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def below(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def found(*folders: Path, root: Path) -> tuple[list[str], list[str]]:
    """What is found, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        paths = dataset.find(folders)
    assert all(issubclass(warning.category, DatasetWarning) for warning in caught)
    return below(root, paths), [str(warning.message) for warning in caught]
