"""Packages and programs that compute metrics, none of which has to be installed.

Each says with what it is installed, whether it is there, and which version that is.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import shutil
from types import ModuleType
from typing import NamedTuple


class MissingMetricError(ValueError):
    """What computes a metric is not installed. The message names the metric and the remedy."""


class Package(NamedTuple):
    """A package on PyPI."""

    name: str  # on PyPI
    module: str
    extra: str  # of this project, which brings it

    def require(self, metric: str) -> None:
        """Raises `MissingMetricError` if the package is not installed. Does not import it."""
        if importlib.util.find_spec(self.module) is None:
            raise MissingMetricError(
                f"{metric}: needs the package {self.name}: pip install 'rdonet-jax[{self.extra}]' "
                "brings it"
            )

    def version(self) -> str:
        """The package and its version."""
        return f"{self.name} {importlib.metadata.version(self.name)}"


class Program(NamedTuple):
    """A program in the folders of PATH."""

    name: str
    source: str  # what brings it, for users

    def require(self, metric: str) -> None:
        """Raises `MissingMetricError` if the program is not there."""
        if shutil.which(self.name) is None:
            raise MissingMetricError(f"{metric}: needs the program {self.name}, in {self.source}")

    def version(self) -> str:
        """The program. It does not tell its version."""
        return self.name


Library = Package | Program
"""What computes a metric."""


@functools.cache
def load(module: str) -> ModuleType:
    """The module. What it prints when it is imported goes nowhere."""
    with contextlib.redirect_stdout(io.StringIO()):
        return importlib.import_module(module)
