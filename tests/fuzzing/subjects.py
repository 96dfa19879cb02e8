"""What the long runs try: kinds of hostile inputs, each with what has to cope with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rdonet_jax.core import presets
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.models import zoo

GOLDEN = Path(__file__).parent.parent / "golden"


class Subject(Protocol):
    """Inputs that are pure functions of their number, and what tries them."""

    def mutated(self, number: int) -> bytes:
        """Input `number`."""

    def outcome(self, number: int, data: bytes) -> str:
        """What becomes of an input, in a few words; raises whatever is not allowed."""


def mini_weights() -> Path:
    """The small weights file among the golden files."""
    return next(GOLDEN.glob("mini-*.safetensors"))


def _bundled(engine: str) -> Callable[[Path], Subject]:
    return lambda folder: _compressed_files(zoo.load(DEFAULT_MODEL), engine, folder)


def _mini(engine: str) -> Callable[[Path], Subject]:
    return lambda folder: _compressed_files(zoo.load(mini_weights()), engine, folder)


def _tiny(folder: Path) -> Subject:
    from tests.fuzzing import compressed_files

    return compressed_files.FilesOfEverySize(_random_model(folder, presets.tiny()), "jax", folder)


def _random_model(folder: Path, preset: Any) -> zoo.Model:
    """A network of random weights."""
    from tests.fuzzing import weights_files

    weights_files.saved(folder, preset, pack=False)
    return zoo.load(next(folder.glob("base-*")))


def _info(folder: Path) -> Subject:
    from tests.fuzzing.compressed_files import Descriptions

    return Descriptions([zoo.load(mini_weights()), zoo.load(DEFAULT_MODEL)])


def _fixed_rate_info(folder: Path) -> Subject:
    from tests.fuzzing.compressed_files import Descriptions

    models = []
    for number, preset in enumerate((presets.tiny(), presets.mbt2018_tiny())):
        (own := folder / str(number)).mkdir()
        models.append(_random_model(own, preset))
    return Descriptions(models)


def _compressed_files(model: zoo.Model, engine: str, folder: Path) -> Subject:
    from tests.fuzzing.compressed_files import CompressedFiles

    return CompressedFiles(model, engine, folder)


def _weights(folder: Path) -> Subject:
    from tests.fuzzing import weights_files

    return weights_files.WeightsFiles(weights_files.bases(folder, mini_weights()), folder)


def _images(folder: Path) -> Subject:
    from tests.fuzzing import image_bases, image_files

    return image_files.ImageFiles(image_bases.all_bases(), folder)


class Kind(NamedTuple):
    """A kind of inputs.

    Attributes:
      subject: makes what tries them, with a folder for files of its own.
      share: of the time. Where an input takes little time, a long run tries many more.
    """

    subject: Callable[[Path], Subject]
    share: int


SUBJECTS: dict[str, Kind] = {
    "mini-numpy": Kind(_mini("numpy"), 8),
    "mini-jax": Kind(_mini("jax"), 1),
    "standard-numpy": Kind(_bundled("numpy"), 4),
    "standard-jax": Kind(_bundled("jax"), 1),
    "fixed-rate": Kind(_tiny, 1),
    "info": Kind(_info, 8),
    "info-fixed-rate": Kind(_fixed_rate_info, 8),
    "weights": Kind(_weights, 4),
    "images": Kind(_images, 8),
}
"""By name: compressed files of a model for an engine, those that are only described, weights files,
and image files."""


def temporary_folder() -> tempfile.TemporaryDirectory:
    """A folder for what is written thousands of times: in memory, where the system has that."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
