"""Shards: the same images as in their folder, found without reading them, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import sys
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli import lazy_commands
from rdonet_jax.evaluation import real_files
from rdonet_jax.imaging import dataset, pillow_files, shard_writer, shards, srgb
from rdonet_jax.imaging.dataset import DatasetError, DatasetWarning
from rdonet_jax.imaging.shards import INDEX, KINDS, Index, ShardError
from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import urls

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Seven images in several formats, in folders; gray, turned and with a long name."""
    path = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number, name in enumerate(["a.png", "b/c.jpg", "b/d.webp", "e.tif", "ü.png"]):
        pixels = random.integers(0, 256, (70 + number, 90 - number, 3), np.uint8)
        (path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path / name)
    Image.fromarray(pixels[..., 0]).save(path / "gray.png")
    turned = Image.fromarray(pixels)
    turned.getexif()[274] = 6
    (path / ("long" * 50)).mkdir()
    turned.save(path / ("long" * 50) / "turned.jpg", exif=turned.getexif())
    return path


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def packed(folder: Path, target: str | Path, kind: str, shard_bytes: int = 20_000) -> Index:
    return shard_writer.pack([folder], target, kind, shard_bytes)


def assert_same(folder: Path, place: str | Path) -> None:
    files, found = dataset.find([folder]), dataset.find([place])
    assert [path.name for path in found] == [p.relative_to(folder).as_posix() for p in files]
    ours, theirs = dataset.usable(found, 64), dataset.usable(files, 64)
    assert ours.sizes == theirs.sizes
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    assert dataset.fingerprint(ours, [place]) == dataset.fingerprint(theirs, [folder])
    for number in reversed(range(len(files))):
        np.testing.assert_array_equal(ours.image(number), theirs.image(number))


def test_shards_hold_what_the_folder_holds(folder, tmp_path, kind):
    index = packed(folder, tmp_path / "shards", kind)
    assert len(index.files) > 2 and len(index.names) == 7
    names = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert names == sorted([INDEX, *index.files])
    assert_same(folder, tmp_path / "shards")
    moved = shutil.move(tmp_path / "shards", tmp_path / "moved")
    assert_same(folder, moved)


def test_tar_shards_are_packed_to_a_store_and_read_there(folder, store):
    packed(folder, store, shards.TAR)
    assert_same(folder, store)
    with pytest.raises(ShardError, match="holds shards already"):
        packed(folder, store, shards.TAR)


def test_array_record_shards_in_a_store_are_refused(folder, store):
    packed(folder, store, shards.ARRAY_RECORD)
    with pytest.raises(DatasetError, match=r"are read from a local or mounted folder; tar shards"):
        dataset.find([store])


def test_no_header_is_read_at_the_start(folder, tmp_path, monkeypatch, kind):
    packed(folder, tmp_path / "shards", kind)
    for name in ("inspect", "read", "read_content"):
        monkeypatch.setattr(srgb, name, None)
    monkeypatch.setattr(pillow_files, "opened", None)
    monkeypatch.setattr(shards.Shards, "read", None)
    found = dataset.usable(dataset.find([tmp_path / "shards"]), 64)
    assert len(found.paths) == 7
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(dataset.usable(dataset.find([tmp_path / "shards"]), 72).paths) < 7
    assert all("is too small for crops of 72x72" in str(one.message) for one in caught)


def test_very_many_images_are_found_without_reading_their_shards(tmp_path):
    count = 100_000
    index = Index(
        shards.TAR, ("a.tar",), (0,), tuple(f"{n:07d}.jpg" for n in range(count)),
        np.full((count, 2), 500, np.int32), np.zeros(count, np.int32),
        np.ones((count, 2), np.int64),
    )  # fmt: skip
    (tmp_path / "a.tar").touch()
    (tmp_path / INDEX).write_bytes(index.to_bytes())
    found = dataset.usable(dataset.find([tmp_path]), 256)
    assert len(found.paths) == count and found.paths[-1].name == "0099999.jpg"


def test_shards_are_read_by_many_threads(folder, tmp_path, kind):
    packed(folder, tmp_path / "shards", kind)
    found = shards.found_in(tmp_path / "shards")
    files = [path.read_bytes() for path in dataset.find([folder])]
    with ThreadPoolExecutor(8) as pool:
        numbers = [n % len(files) for n in range(400)]
        for number, content in zip(numbers, pool.map(found.read, numbers), strict=True):
            assert content == files[number]


def test_tar_files_of_others_get_an_index(folder, tmp_path):
    files = dataset.find([folder])
    for number, part in enumerate((files[:3], files[3:])):
        with tarfile.open(tmp_path / f"{number}.tar", "w", format=tarfile.GNU_FORMAT) as file:
            for path in part:
                file.add(path, path.name)
                file.addfile(_member(path.with_suffix(".json").name, 2), io.BytesIO(b"{}"))
            file.addfile(_member("broken.png", 3), io.BytesIO(b"abc"))
    with pytest.warns(DatasetWarning, match=r"broken.png: is damaged or no image .* left out"):
        index = shard_writer.index_tars(tmp_path)
    names = ("0", *files[:3]), ("1", *files[3:])
    assert index.names == tuple(f"{stem}/{p.name}" for stem, *part in names for p in part)
    found = dataset.find([tmp_path])
    for path, file in zip(found, files, strict=True):
        np.testing.assert_array_equal(dataset.load(path), srgb.load(file))


@pytest.mark.parametrize(("name", "cause"), [("none", "no such folder"), ("a.tar", "is no folder")])
def test_an_index_is_made_of_a_folder_that_is_there(tmp_path, name, cause):
    (tmp_path / "a.tar").touch()
    with pytest.raises(shards.ShardError, match=f"^{tmp_path / name}: {cause}$"):
        shard_writer.index_tars(tmp_path / name)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def test_an_image_that_training_cannot_use_is_left_out_and_named(folder, tmp_path, kind):
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    (mixed / "broken.png").write_bytes(b"nothing")
    Image.new("RGBA", (80, 80), (0, 0, 0, 9)).save(mixed / "clear.png")
    with pytest.warns(DatasetWarning) as caught:
        index = packed(mixed, tmp_path / "shards", kind)
    assert {str(one.message).partition(":")[0] for one in caught} == {
        str(mixed / "broken.png"), str(mixed / "clear.png"),
    }  # fmt: skip
    assert len(index.names) == 7


def test_a_shard_that_is_cut_short_or_missing_is_named_at_the_start(folder, tmp_path, kind):
    index = packed(folder, tmp_path / "shards", kind)
    shard = tmp_path / "shards" / index.files[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    sentence = f"^{shard}: has {len(content) - 10} bytes, and its index says {len(content)}$"
    with pytest.raises(DatasetError, match=sentence):
        dataset.find([tmp_path / "shards"])
    shard.unlink()
    with pytest.raises(DatasetError, match=f"^{shard}: cannot be read"):
        dataset.find([tmp_path / "shards"])


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_shard_in_a_store_that_is_cut_short_or_missing_is_named_at_the_start(
    folder, store, damage
):
    index = packed(folder, store, shards.TAR)
    url = urls.join(store, index.files[1])
    if damage == "cut":
        urls.write(url, urls.read(url)[:-1])
        cause = f"has {index.file_bytes[1] - 1} bytes, and its index says {index.file_bytes[1]}"
    else:
        urls.remove(url)
        cause = "cannot be read (there is no such file or bucket)"
    with pytest.raises(DatasetError, match=re.escape(f"{url}: {cause}")):
        dataset.find([store])


def test_the_size_of_a_shard_that_no_list_has_is_asked_for(monkeypatch):
    for listed in (None, urls.Entry(0, "")):
        for size, expected in ((7, 7), (0, None)):
            monkeypatch.setattr(urls, "entry", lambda url, size=size: urls.Entry(size, ""))
            assert shards._size("https://example.org/a.tar", listed) == expected


def test_damage_inside_a_shard_leaves_images_out_with_a_warning(folder, tmp_path, kind):
    index = packed(folder, tmp_path / "shards", kind, shard_bytes=10**9)
    shard = tmp_path / "shards" / index.files[0]
    content = bytearray(shard.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 3000] = bytes(3000)
    shard.write_bytes(content)
    found = dataset.usable(dataset.find([tmp_path / "shards"]), 64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = [found.image(number) for number in range(7)]
    assert 0 < sum(image is None for image in images) < 7
    assert all("passed over" in str(one.message) for one in caught)


def test_what_was_not_finished_is_no_dataset(folder, tmp_path, kind, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shard_writer, "_write_index", fail)
        packed(folder, tmp_path / "shards", kind)
    with pytest.raises(DatasetError, match="no images below"):
        dataset.find([tmp_path / "shards"])
    packed(folder, tmp_path / "shards", kind)
    assert_same(folder, tmp_path / "shards")


@pytest.mark.parametrize("place", ["local", "memory"])
def test_a_shard_that_is_being_written_is_in_a_folder_that_goes_away(
    folder, tmp_path, kind, monkeypatch, place
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    target = tmp_path / "shards" if place == "local" else "memory://shards/unfinished"

    def fail(shard, *_):
        assert str(shard.path.parent) in interrupts.temporary_paths()  # for signals
        raise KeyboardInterrupt

    monkeypatch.setattr(shard_writer, "_finish", fail)
    with pytest.raises(KeyboardInterrupt):
        packed(folder, target, kind)
    assert [path for path in tmp_path.rglob("*") if path != target] == []


def test_names_with_dots_lie_in_their_folder():
    for name in ("..x.png", "a../b..png", "./x.png", "...", "a:b", "a\\b"):
        assert not shards._leads_out(name)


def test_members_of_tar_files_that_lead_out_of_the_folder_are_left_out(folder, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name in ("a.png", "../b.png"):
            file.add(folder / "a.png", name)
    assert shard_writer.index_tars(tmp_path).names == ("a/a.png",)


def test_without_grain_array_records_say_what_is_missing(folder, tmp_path, monkeypatch):
    packed(folder, tmp_path / "shards", shards.ARRAY_RECORD)
    monkeypatch.setitem(sys.modules, "grain.sources", None)
    with pytest.raises(ShardError, match="need the package grain, of the extra 'train'"):
        shards.found_in(tmp_path / "shards").read(0)


def test_evaluations_name_images_in_shards_as_those_in_folders(folder, tmp_path, store):
    packed(folder, tmp_path / "shards", shards.ARRAY_RECORD)
    packed(folder, store, shards.TAR)
    names = list(real_files.named_images([folder]))
    assert list(real_files.named_images([tmp_path / "shards"])) == names
    assert list(real_files.named_images([store])) == names
    assert len(real_files.named_images([folder, tmp_path / "shards"])) == 14


@pytest.fixture
def alike(tmp_path) -> list[Path]:
    """Three folders, two of them with the same name, whose images have the same names too."""
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "deeper" / "b"]
    for number, folder in enumerate(folders):
        (folder / "c").mkdir(parents=True)
        Image.new("RGB", (70 + number, 70)).save(folder / "c" / "x.png")
        Image.new("RGB", (70, 70 + number)).save(folder / f"own{number}.png")
    return folders


def test_images_of_equal_names_in_several_folders_stay_apart(alike, tmp_path, kind, store):
    place: str | Path = store if kind == shards.TAR else tmp_path / "shards"
    shard_writer.pack(alike, place, kind)
    names = ["a/c/x.png", "b/c/x-2.png", "b/c/x.png", "own0.png", "own1.png", "own2.png"]
    found = real_files.named_images([place])
    assert list(found) == names
    sizes = [(70, 70), (72, 70), (71, 70), (70, 70), (70, 71), (70, 72)]
    assert [dataset.load(image).shape[1::-1] for image in found.values()] == sizes
    if kind == shards.TAR:
        with tarfile.open(fileobj=io.BytesIO(urls.read(f"{place}/images-00000.tar"))) as file:
            assert sorted(file.getnames()) == names


def test_labels_change_no_fingerprint(alike, tmp_path):
    shard_writer.pack(alike, tmp_path / "shards")
    theirs = dataset.usable(dataset.find(alike), 64)
    ours = dataset.usable(dataset.find([tmp_path / "shards"]), 64)
    expected = dataset.fingerprint(theirs, alike)
    assert dataset.fingerprint(ours, [tmp_path / "shards"]) == expected


def test_shards_that_were_packed_without_labels_lose_no_image(alike, tmp_path):
    index = shard_writer.pack(alike, tmp_path / "shards")
    old = dataclasses.replace(index, labels=())
    (tmp_path / "shards" / INDEX).write_bytes(old.to_bytes())
    names = sorted(real_files.named_images([tmp_path / "shards"]))
    assert names == ["c/x-2.png", "c/x-3.png", "c/x.png", "own0.png", "own1.png", "own2.png"]


def test_the_command_packs_and_says_what_it_made(folder, tmp_path, capsys, kind):
    out = tmp_path / "shards"
    assert lazy_commands.data(["pack", str(folder), str(out), "--kind", kind]) == 0
    assert capsys.readouterr().out == f"7 images in 1 shards, kind {kind}\n"
    assert lazy_commands.data(["pack", str(folder), str(out)]) == 1
    assert capsys.readouterr().err == f"rdonet data: {out}: holds shards already\n"
    assert lazy_commands.data(["pack", str(out), str(tmp_path / "again")]) == 1
    assert "holds shards; pack the images themselves" in capsys.readouterr().err
    assert lazy_commands.data(["index", str(tmp_path)]) == 1
    assert "there are no images in 0 tar files" in capsys.readouterr().err
    assert lazy_commands.data(["pack", str(out)]) == 2
    if kind == shards.TAR:
        (out / INDEX).unlink()
        assert lazy_commands.data(["index", str(out)]) == 0
        assert len(dataset.find([out])) == 7


def test_array_records_in_a_folder_whose_name_is_not_utf8_are_one_sentence(
    folder, tmp_path, capsys
):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert lazy_commands.data(["pack", str(folder), str(odd)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"rdonet data: {tmp_path}/caf\\udce9: the name of a folder with Array")
    assert not odd.exists()
    packed(folder, tmp_path / "shards", shards.ARRAY_RECORD)
    (tmp_path / "shards").rename(odd)
    with pytest.raises(DatasetError, match="has to be UTF-8"):
        dataset.find([odd])
    shutil.rmtree(odd)
    packed(folder, odd, shards.TAR)
    assert_same(folder, odd)


def test_packing_to_a_bucket_that_is_not_there_is_one_sentence(folder, s3_server, capsys):
    assert lazy_commands.data(["pack", str(folder), "s3://no-such-bucket/x", "--kind", "tar"]) == 1
    assert "there is no such bucket" in capsys.readouterr().err
    assert not urls.is_url(folder)
