"""Crops: a pure function of seed and number, from pictures that can be used."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rdonet_jax import data


@pytest.fixture
def pictures(photograph_folder):
    return data.usable(data.find_pictures([photograph_folder]), 64)


def test_a_crop_is_a_function_of_seed_and_number(pictures):
    first = data.random_crop(pictures, 64, 0.5, 1, 17)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, data.random_crop(pictures, 64, 0.5, 1, 17))
    others = [data.random_crop(pictures, 64, 0.5, seed, n) for seed, n in [(2, 17), (1, 18)]]
    assert all(np.any(first != other) for other in others)


def test_crops_without_reduction_are_pieces_of_the_pictures_or_their_mirror_images(pictures):
    sources = [np.asarray(pictures.picture(n)) for n in range(len(pictures.paths))]
    windows = [np.lib.stride_tricks.sliding_window_view(s[..., 0], (1, 64)) for s in sources]
    for number in range(6):
        crop = data.random_crop(pictures, 64, 1.0, 0, number)
        found = [
            np.any(np.all(w[:, :, 0] == row, axis=-1))
            for w in windows
            for row in (crop[0, :, 0], crop[0, ::-1, 0])
        ]
        assert any(found)


def test_batches_start_anywhere_with_the_same_crops(pictures):
    whole = list(data.batches(pictures, 64, 0.5, 0, 4, 0, 5))
    tail = list(data.batches(pictures, 64, 0.5, 0, 4, 3, 5))
    assert len(whole) == 5 and whole[0].shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(np.stack(whole[3:]), np.stack(tail))


def test_unusable_pictures_are_skipped_with_a_warning_that_names_them(tmp_path):
    Image.new("RGB", (20, 300)).save(tmp_path / "narrow.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (80, 80)).save(tmp_path / "fine.png")
    with pytest.warns(UserWarning) as warnings:
        kept = data.usable(data.find_pictures([tmp_path]), 64)
    assert [path.name for path in kept.paths] == ["fine.png"]
    text = " ".join(str(w.message) for w in warnings)
    assert "narrow.png" in text and "broken.png" in text


def test_pictures_that_do_not_become_8_bit_rgb_without_loss_are_skipped(tmp_path):
    wide = np.full((80, 80), 40_000, np.uint16)
    Image.fromarray(wide).save(tmp_path / "deep.png")
    Image.new("CMYK", (80, 80)).save(tmp_path / "cmyk.jpg")
    Image.new("RGBA", (80, 80), (9, 9, 9, 254)).save(tmp_path / "veil.png")
    Image.new("LA", (80, 80), (9, 0)).save(tmp_path / "gone.png")
    Image.new("P", (80, 80)).save(tmp_path / "hole.png", transparency=0)
    (tmp_path / "deep.ppm").write_bytes(b"P6 80 80 65535\n" + bytes(80 * 80 * 6))
    for mode in ("1", "L", "P", "RGB"):
        Image.new(mode, (80, 80)).save(tmp_path / f"{mode}.png")
    Image.new("RGBA", (80, 80), (9, 9, 9, 255)).save(tmp_path / "RGBA.png")
    with pytest.warns(UserWarning) as warnings:
        kept = data.usable(data.find_pictures([tmp_path]), 64)
    assert {path.stem for path in kept.paths} == {"1", "L", "P", "RGB", "RGBA"}
    text = " ".join(str(w.message) for w in warnings)
    for name in ("deep.png", "deep.ppm", "cmyk.jpg", "veil.png", "gone.png", "hole.png"):
        assert name in text


def test_no_usable_picture_is_an_error(tmp_path):
    with pytest.raises(data.DataError, match="no pictures"):
        data.find_pictures([tmp_path])
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning), pytest.raises(data.DataError, match="none of 1 training"):
        data.usable(data.find_pictures([tmp_path]), 64)
