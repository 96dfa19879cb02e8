"""Datasets by name: `tfds:NAME[:SPLIT]` of TensorFlow Datasets, `hf:NAME[:SPLIT]` of Hugging Face.

NAME may be a folder that the library has written. The split is `train` where none is given. Images
are taken by their numbers and as the files that they were, so they are read as those of a folder.
The libraries are imported when a name is used. TensorFlow is not needed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.core import messages
from rdonet_jax.imaging.errors import AccessError, ImageError
from rdonet_jax.imaging.packed_image import PackedImage

_NAME = re.compile(
    r"(?P<library>tfds|hf):(?P<name>[^:]+(:\d+\.\d+\.\d+)?)(:(?P<split>.+))?", re.DOTALL
)

DEFAULT_SPLIT = "train"

COLUMN = "image"
"""The column that is taken where several hold images."""

PACKAGES = {"tfds": "tensorflow_datasets", "hf": "datasets"}


class NamedDatasetError(ValueError):
    """A dataset that cannot be used. The message names it."""


class _Rows(NamedTuple):
    """The images of a split."""

    count: int  # type: ignore[assignment]
    read: Callable[[int], bytes]  # the image file of a row


class NamedDataset:
    """The images of one split."""

    def __init__(self, text: str) -> None:
        """Opens a dataset by its name. Raises `NamedDatasetError`."""
        library, name, split = _parts(text)
        self.text = f"{library}:{name}:{split}"
        try:
            self._rows = _OPENERS[library](name, split)
        except ImportError as error:
            raise NamedDatasetError(
                f"{self.text}: needs {error.name or PACKAGES[library]}, which is not installed: "
                f"pip install 'rdonet-jax[{library}]'"
            ) from error
        except NamedDatasetError as error:
            raise NamedDatasetError(f"{self.text}: {error}") from error
        except Exception as error:  # the libraries raise almost anything
            raise NamedDatasetError(
                f"{self.text}: cannot be opened ({messages.first_line(error)})"
            ) from error

    def images(self) -> Iterator[NamedImage]:
        """All images, in the order of the rows."""
        return (NamedImage(self, number) for number in range(self._rows.count))

    def read(self, number: int) -> bytes:
        """The image file of a row. Raises ImageError."""
        try:
            return self._rows.read(number)
        except Exception as error:  # as above
            kind = AccessError if isinstance(error, OSError) else ImageError
            raise kind(
                f"{self.text}/{number:08}: cannot be read ({messages.first_line(error)})"
            ) from error


@dataclasses.dataclass(frozen=True, slots=True)
class NamedImage(PackedImage):
    """One image of a dataset by name."""

    dataset: NamedDataset
    number: int

    @property
    def name(self) -> str:
        """The number of its row."""
        return f"{self.number:08}"

    def __str__(self) -> str:
        return f"{self.dataset.text}/{self.name}"

    def resolve(self) -> tuple[str, int]:
        return self.dataset.text, self.number

    def absolute(self) -> Path:
        return absolute(self.dataset.text) / self.name

    def content(self) -> bytes:
        return self.dataset.read(self.number)


def is_name(text: str | Path) -> bool:
    """Whether a text is the name of a dataset, and not a path or URL."""
    return _NAME.fullmatch(str(text)) is not None


def absolute(text: str | Path) -> Path:
    """A path that stands for a dataset, below which its images are. Raises `NamedDatasetError`."""
    names = (name for part in _parts(str(text)) for name in part.split("/"))
    return Path("/", *(name for name in names if name.strip(".")))


def _parts(text: str) -> tuple[str, str, str]:
    """Library, name and split."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise NamedDatasetError(f"{text}: names no dataset, as tfds:NAME:SPLIT or hf:NAME:SPLIT do")
    return match["library"], match["name"], match["split"] or DEFAULT_SPLIT


def _hugging_face(name: str, split: str) -> _Rows:
    import datasets

    datasets.disable_progress_bars()
    folder = Path(name)
    if (folder / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(name)
        if split not in splits:
            raise NamedDatasetError(f"has no split {split}, only {', '.join(splits)}")
        rows = splits[split]
    elif (folder / "state.json").is_file():
        rows = datasets.load_from_disk(name)
        if str(rows.split or DEFAULT_SPLIT) != split:
            raise NamedDatasetError(f"holds the split {rows.split} alone")
    else:
        rows = datasets.load_dataset(name, split=split)
    column = _image_column(rows.features, datasets.Image)
    rows = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def read(number: int) -> bytes:
        image = rows[number][column]
        return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()

    return _Rows(len(rows), read)


def _tensorflow_datasets(name: str, split: str) -> _Rows:
    import tensorflow_datasets as tfds

    if (Path(name) / "dataset_info.json").is_file():
        builder = tfds.builder_from_directory(name)
    else:
        builder = tfds.builder(name)
    column = _image_column(dict(builder.info.features), tfds.features.Image)
    if split.partition("[")[0] not in builder.info.splits:
        known = ", ".join(builder.info.splits) or "none that is prepared here"
        raise NamedDatasetError(f"has no split {split}, only {known}")
    # Rows by number need ArrayRecord files, which the library says where there are others.
    rows = builder.as_data_source(split, decoders={column: tfds.decode.SkipDecoding()})
    return _Rows(len(rows), lambda number: bytes(rows[number][column]))


def _image_column(features: Mapping[str, Any], kind: type) -> str:
    """The column that holds the images. Raises `NamedDatasetError`."""
    columns = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not columns:
        raise NamedDatasetError(f"has no column of images, only {', '.join(features)}")
    if len(columns) > 1 and COLUMN not in columns:
        raise NamedDatasetError(
            f"has several columns of images ({', '.join(columns)}), none called {COLUMN}"
        )
    return COLUMN if COLUMN in columns else columns[0]


_OPENERS = {"tfds": _tensorflow_datasets, "hf": _hugging_face}
