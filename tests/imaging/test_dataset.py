"""Which files are images to use, and what happens to those that turn out broken."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from rdonet_jax.imaging import dataset, srgb
from rdonet_jax.imaging.dataset import DatasetError, DatasetWarning
from rdonet_jax.runtime import system_memory
from tests.imaging.image_folders import found, plant

pytestmark = pytest.mark.once


def noise(seed: int, width: int = 80, height: int = 72) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four images of noise in four formats."""
    path = tmp_path_factory.mktemp("noise")
    for number, name in enumerate(["a.png", "b.webp", "c.jpg", "d.tif"]):
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.fromarray(noise(number)).save(path / name, **options)
    return path


def test_one_folder_alone_is_a_list_of_one(folder):
    assert dataset.find(str(folder)) == dataset.find(folder) == dataset.find([folder])
    assert len(dataset.find(folder)) == 4


def test_images_of_any_depth_and_spelling_are_found_and_hidden_or_foreign_files_are_not(tmp_path):
    plant(
        tmp_path,
        "b.PNG", "a/deep/er/x.JPeG", "a.tiff", "c.webp",
        "notes.txt", "x.npy", ".hidden.png", ".thumbnails/y.png",
        "__MACOSX/z.png", "a/__MACOSX/._x.png", "a/._x.png",
    )  # fmt: skip
    names, said = found(tmp_path, root=tmp_path)
    assert names == ["a/deep/er/x.JPeG", "a.tiff", "b.PNG", "c.webp"] and not said


def test_an_image_that_is_reached_twice_counts_once(tmp_path):
    plant(tmp_path, "one/a.png", "one/two/b.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.png").symlink_to(tmp_path / "one" / "a.png")
    (tmp_path / "other" / "folder").symlink_to(tmp_path / "one" / "two")
    one, two, other = (tmp_path / name for name in ("one", "one/two", "other"))
    assert found(one, two, one, other, root=tmp_path)[0] == ["one/a.png", "one/two/b.png"]
    assert found(other, root=tmp_path)[0] == ["other/folder/b.png", "other/link.png"]


def test_circular_links_end(tmp_path):
    plant(tmp_path, "one/a.png", "two/b.png")
    (tmp_path / "one" / "self").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "away").symlink_to(tmp_path / "two")
    (tmp_path / "two" / "back").symlink_to(tmp_path / "one")
    assert found(tmp_path / "one", root=tmp_path)[0] == ["one/a.png", "one/away/b.png"]


def test_a_link_to_nowhere_is_found_and_then_left_out_by_name(tmp_path):
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.warns(DatasetWarning, match=r"gone\.png: cannot be read"):
        assert len(dataset.usable(dataset.find([tmp_path]), 64).paths) == 1


def test_a_link_to_itself_is_left_out_as_one_to_nowhere(tmp_path):
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    for name in ("b", "c.png"):
        (tmp_path / name).symlink_to(tmp_path / name)
    found = dataset.find([tmp_path])
    assert [path.name for path in found] == ["a.png", "c.png"]
    with pytest.warns(DatasetWarning, match=r"c\.png: cannot be read"):
        assert dataset.usable(found, 64).paths == (tmp_path / "a.png",)


def test_the_order_is_that_of_the_folders_given_and_of_the_names_in_them(tmp_path):
    plant(tmp_path, "z/b.png", "z/a/c.png", "z/a.png", "y/a.png")
    names, _ = found(tmp_path / "z", tmp_path / "y", root=tmp_path)
    assert names == ["z/a/c.png", "z/a.png", "z/b.png", "y/a.png"]


def test_nothing_to_use_is_an_error_with_place_and_cause(tmp_path):
    with pytest.raises(DatasetError, match="absent: no such folder"):
        dataset.find([tmp_path / "absent"])
    plant(tmp_path, "notes.txt")
    with pytest.raises(DatasetError, match=f"no images below {tmp_path}$"):
        dataset.find([tmp_path])
    plant(tmp_path, "DIV2K_train_LR_x8/0001x8.png")
    with pytest.warns(DatasetWarning), pytest.raises(DatasetError, match="but for 1 that were"):
        dataset.find([tmp_path])
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.warns(DatasetWarning), pytest.raises(DatasetError, match="none of 1 training"):
        dataset.usable([tmp_path / "a.png"], 64)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    plant(tmp_path, "locked/a.png")
    scan = dataset.os.scandir

    def refuse(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(dataset.os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"locked: cannot be read \(Permission denied\)"):
        dataset.find([tmp_path])


def test_every_unusable_image_is_named_with_its_cause_in_the_order_of_the_paths(tmp_path):
    Image.new("RGB", (20, 300)).save(tmp_path / "narrow.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    Image.fromarray(np.full((80, 80), 40_000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "deep.ppm").write_bytes(b"P6 80 80 65535\n" + bytes(80 * 80 * 6))
    Image.new("CMYK", (80, 80)).save(tmp_path / "cmyk.jpg")
    Image.new("RGBA", (80, 80), (9, 9, 9, 254)).save(tmp_path / "veil.png")
    Image.new("LA", (80, 80), (9, 0)).save(tmp_path / "gone.png")
    Image.new("P", (80, 80)).save(tmp_path / "hole.png", transparency=0)
    causes = {
        "broken.png": "damaged or no image", "cmyk.jpg": "CMYK", "deep.png": "8 bits",
        "deep.ppm": "8 bits", "gone.png": "transparent", "hole.png": "transparent",
        "narrow.png": "20x300 is too small", "veil.png": "transparent",
    }  # fmt: skip
    for mode in ("1", "L", "P", "RGB"):
        Image.new(mode, (80, 80)).save(tmp_path / f"{mode}.png")
    Image.new("RGBA", (80, 80), (9, 9, 9, 255)).save(tmp_path / "RGBA.png")
    with pytest.warns(DatasetWarning) as caught:
        kept = dataset.usable(dataset.find([tmp_path]), 64)
    assert [path.stem for path in kept.paths] == ["1", "L", "P", "RGB", "RGBA"]
    assert len(caught) == len(causes)
    for warning, (name, cause) in zip(caught, causes.items(), strict=True):
        assert name in str(warning.message) and cause in str(warning.message)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_an_image_is_used_upright_as_it_is_coded(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(0, 96, 64)).save(path, exif=exif)
    kept = dataset.usable([path], 64)
    upright = srgb.load(path)
    assert kept.sizes == (upright.shape[1::-1],)
    assert kept.sizes == ((96, 64) if orientation in (1, 3) else (64, 96),)
    np.testing.assert_array_equal(np.asarray(kept.image(0)), upright)


def test_images_are_drawn_by_the_square_root_of_their_area(tmp_path):
    for side in (100, 200, 500):
        Image.new("L", (side, side)).save(tmp_path / f"{side}.png")
    kept = dataset.usable(dataset.find([tmp_path]), 64)
    assert [path.stem for path in kept.paths] == ["100", "200", "500"]
    chances = (np.arange(8000) + 0.5) / 8000
    assert np.bincount([kept.draw(chance) for chance in chances]).tolist() == [1000, 2000, 5000]


@settings(max_examples=25, deadline=None)
@given(budget=st.integers(0, 5 * 80 * 72 * 4), asked=st.lists(st.integers(0, 3), max_size=30))
def test_no_more_is_kept_than_the_budget_allows_and_pixels_do_not_depend_on_it(
    folder, budget, asked
):
    size = 80 * 72 * 4
    kept = dataset.usable(dataset.find([folder]), 64, cache_bytes=budget)
    for index in asked:
        expected = srgb.load(kept.paths[index])
        np.testing.assert_array_equal(np.asarray(kept.image(index)), expected)
        assert kept.cached_bytes <= budget
    assert kept.cached_bytes == size * min(len(set(asked)), budget // size)


def test_what_is_kept_stays_and_the_rest_is_decoded_every_time(folder, monkeypatch):
    kept = dataset.usable(dataset.find([folder]), 64, cache_bytes=2 * 80 * 72 * 4)
    decoded = []
    read = srgb.read_content

    def noted(content, path):
        decoded.append(Path(path).name)
        return read(content, path)

    monkeypatch.setattr(srgb, "read_content", noted)
    kept.image(3, keep=False)
    for index in (2, 0, 1, 2, 0, 1, 3):
        kept.image(index)
    assert decoded == ["d.tif", "c.jpg", "a.png", "b.webp", "b.webp", "d.tif"]


@pytest.mark.parametrize(
    ("available", "budget"), [(1000, 500), (None, dataset.UNKNOWN_MEMORY_BYTES)]
)
def test_the_budget_is_half_of_the_available_memory_where_that_is_known(
    folder, monkeypatch, available, budget
):
    monkeypatch.setattr(system_memory, "available_bytes", lambda: available)
    assert dataset.usable(dataset.find([folder]), 64).cache_bytes == budget


@pytest.fixture
def copied(folder, tmp_path) -> list[Path]:
    """The images of `folder`, to be damaged."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return dataset.find([tmp_path])


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("damage", ["truncated", "empty", "smaller"])
def test_an_image_that_breaks_in_mid_run_is_passed_over_with_one_warning(copied, index, damage):
    kept = dataset.usable(copied, 64)
    path = kept.paths[index]
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "smaller":
        Image.new("RGB", (70, 70)).save(path)
    elif damage == "empty":
        path.touch()
    with pytest.warns(DatasetWarning, match=re.escape(str(path))) as caught:
        assert kept.image(index) is None
        assert kept.image(index) is None
        assert kept.image(index - 1) is not None
    assert len(caught) == 1


def test_an_image_that_is_kept_outlives_its_file(copied):
    kept = dataset.usable(copied, 64)
    before = np.asarray(kept.image(0))
    copied[0].unlink()
    np.testing.assert_array_equal(np.asarray(kept.image(0)), before)


def test_when_all_images_are_broken_every_call_is_an_error(copied):
    kept = dataset.usable(copied, 64)
    for path in copied:
        path.write_bytes(path.read_bytes()[:-2000])
    with pytest.warns(DatasetWarning) as caught:
        for index in range(3):
            assert kept.image(index) is None
        for index in (3, 0, 3):
            with pytest.raises(DatasetError, match=r"none of 4 images.*a\.png"):
                kept.image(index)
    assert len(caught) == 4


def test_threads_share_images_budget_and_warnings(copied):
    kept = dataset.usable(copied, 64, cache_bytes=2 * 80 * 72 * 4)
    copied[1].write_bytes(b"")
    begin = threading.Barrier(8)
    seen: list[list[bool]] = []

    def ask() -> None:
        begin.wait()
        seen.append([kept.image(index) is not None for index in (0, 1, 2, 3) * 3])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    with pytest.warns(DatasetWarning) as caught:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [[True, False, True, True] * 3] * 8
    assert len(caught) == 1 and kept.cached_bytes == 2 * 80 * 72 * 4


def test_a_fingerprint_depends_on_names_and_sizes_but_not_on_the_folder(tmp_path):
    def noted(root: str, names: dict[str, int]) -> dataset.DatasetFingerprint:
        for name, side in names.items():
            plant(tmp_path, f"{root}/{name}")
            Image.new("L", (side, 70)).save(tmp_path / root / name)
        folders = [tmp_path / root / "one", tmp_path / root / "two"]
        return dataset.fingerprint(dataset.usable(dataset.find(folders), 64), folders)

    names = {"one/a.png": 70, "two/b.png": 80}
    first = noted("here", names)
    assert first == noted("elsewhere", names) and first.count == 2
    assert first != noted("sizes", {**names, "two/b.png": 81})
    assert first != noted("names", {"one/a.png": 70, "two/c.png": 80})
