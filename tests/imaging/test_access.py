"""Image files that cannot be reached in mid-run: read again, or the end of the run."""

from __future__ import annotations

import errno
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.imaging import access, dataset, shard_writer, shards, srgb
from rdonet_jax.imaging.access import AccessWarning
from rdonet_jax.imaging.dataset import DatasetError, ImageDataset
from rdonet_jax.imaging.errors import AccessError, ImageError

pytestmark = pytest.mark.once


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited for, which pass at once."""
    waited: list[float] = []
    monkeypatch.setattr(access, "WAITS_S", (1.0, 2.0))
    monkeypatch.setattr(access.time, "sleep", waited.append)
    return waited


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    for number, name in enumerate(["a.png", "b.jpg", "c.tif"]):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 80, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    return tmp_path / "images"


@pytest.fixture(params=["files", *shards.KINDS, "url"])
def place(request, folder, tmp_path) -> str | Path:
    """A folder, or shards of its images."""
    if request.param == "files":
        return folder
    target = tmp_path / "shards" if request.param != "url" else f"local://{tmp_path}/store"
    kind = request.param if request.param != "url" else shards.TAR
    shard_writer.pack([folder], target, kind)
    return target


def usable(place: str | Path) -> ImageDataset:
    return dataset.usable(dataset.find([place]), 64, cache_bytes=0)


def file_of(images: ImageDataset, number: int) -> Path:
    """The file that an image is in."""
    path = images.paths[number]
    if isinstance(path, Path):
        return path
    return Path(str(path.shards.path(0)).removeprefix("local://"))


def test_a_file_that_comes_back_is_read_and_nothing_is_broken(place, folder, waits, monkeypatch):
    images = usable(place)
    file = file_of(images, 1)
    away = file.rename(file.with_name("away"))

    def come_back(wait: float) -> None:
        waits.append(wait)
        if len(waits) == 2:
            away.rename(file)

    monkeypatch.setattr(access.time, "sleep", come_back)
    with pytest.warns(AccessWarning, match=r"b\.jpg: cannot be read: .*; tried again") as caught:
        found = images.image(1)
    assert waits == [1.0, 2.0] and len(caught) == 1
    np.testing.assert_array_equal(np.asarray(found), srgb.load(folder / "b.jpg"))


def test_a_file_that_stays_away_ends_the_run_with_its_name(place, waits):
    images = usable(place)
    file_of(images, 1).unlink()
    for _ in range(2):
        with (
            pytest.warns(AccessWarning),
            pytest.raises(DatasetError, match=r"b\.jpg: cannot be read: ") as caught,
        ):
            images.image(1)
        assert "\n" not in str(caught.value)
    assert waits == [1.0, 2.0] * 2


def test_a_shard_that_was_open_is_opened_anew(folder, tmp_path, waits, monkeypatch):
    shard_writer.pack([folder], tmp_path / "shards", shards.TAR)
    images = usable(tmp_path / "shards")
    expected = np.asarray(images.image(0))
    (first,) = images.paths[0].shards._open.values()
    read = os.pread

    def stale(descriptor, *others):
        if descriptor == first:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(descriptor, *others)

    monkeypatch.setattr(os, "pread", stale)
    with pytest.warns(AccessWarning, match=re.escape(os.strerror(errno.ESTALE))):
        np.testing.assert_array_equal(np.asarray(images.image(0)), expected)
    assert waits == [1.0]


def test_too_little_memory_ends_the_run_and_breaks_no_image(folder, waits, monkeypatch):
    images = usable(folder)

    def fail(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", fail)
        patch.setattr(srgb.ImageOps, "exif_transpose", fail)
        with pytest.raises(DatasetError, match=r"a\.png: there is not enough memory"):
            images.image(0)
    assert images.image(0) is not None and not waits


def test_a_dataset_by_name_tells_access_from_damage(monkeypatch):
    from rdonet_jax.imaging.named_datasets import NamedDataset

    names = NamedDataset.__new__(NamedDataset)
    names.text = "hf:photographs:train"
    for error, is_access in ((ConnectionError("gone"), True), (ValueError("bad"), False)):

        def read(number, error=error):
            raise error

        names._rows = type("Rows", (), {"read": staticmethod(read)})
        with pytest.raises(ImageError, match="train/00000003: cannot be read") as caught:
            names.read(3)
        assert isinstance(caught.value, AccessError) == is_access


def test_what_is_at_hand_is_read_once_without_a_warning(place, waits):
    images = usable(place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(images.image(number) is not None for number in range(3))
    assert not waits
