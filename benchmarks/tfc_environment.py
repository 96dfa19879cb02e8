"""An environment of its own for the full TensorFlow Compression, whose entropy models need it."""

from __future__ import annotations

from pathlib import Path

REQUIREMENTS = ("tensorflow-compression==2.14.1", "tensorflow==2.14.1", "numpy==1.26.4")
ENVIRONMENT = Path.home() / ".cache" / "rdonet-jax" / "tensorflow-compression"
