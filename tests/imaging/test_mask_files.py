import numpy as np
import pytest
from PIL import Image

from rdonet_jax.imaging import mask_files, srgb
from rdonet_jax.imaging.errors import ImageError

pytestmark = pytest.mark.once


def test_a_mask_is_read_from_gray_and_palette_images_and_arrays(tmp_path):
    levels = np.random.default_rng(0).integers(0, 3, (4, 8), dtype=np.uint8)
    gray = Image.fromarray(levels)
    palette = Image.fromarray(levels)
    palette.putpalette([220, 40, 40, 240, 200, 40, 40, 160, 70])
    gray.save(tmp_path / "gray.png")
    palette.save(tmp_path / "palette.png")
    np.save(tmp_path / "bytes.npy", levels)
    np.save(tmp_path / "wide.npy", levels.astype(np.int64))
    for name in ("gray.png", "palette.png", "bytes.npy", "wide.npy"):
        mask = mask_files.load_mask(tmp_path / name)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, levels)


def test_a_mask_of_colors_is_refused(tmp_path):
    srgb.save(tmp_path / "a.png", np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a\.png: a mask must be a gray or palette image"):
        mask_files.load_mask(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4)), "whole numbers"),
        (np.zeros((4, 4, 1), np.uint8), "two-dimensional"),
        (np.full((4, 4), 256), r"0 \.\.\. 255"),
        (np.full((4, 4), -1), r"0 \.\.\. 255"),
    ],
)
def test_an_array_that_is_no_level_map_is_refused(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageError, match=reason):
        mask_files.load_mask(tmp_path / "a.npy")


def test_broken_and_missing_mask_arrays_are_refused(tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
    with pytest.raises(ImageError, match=r"no readable \.npy file"):
        mask_files.load_mask(tmp_path / "broken.npy")
    with pytest.raises(ImageError, match="No such file"):
        mask_files.load_mask(tmp_path / "missing.npy")
    with open(tmp_path / "archive.npy", "wb") as file:
        np.savez(file, a=np.zeros((4, 4), np.uint8))
    with pytest.raises(ImageError, match="one array"):
        mask_files.load_mask(tmp_path / "archive.npy")
