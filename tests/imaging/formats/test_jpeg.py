"""JPEG files whose data end early, although they have an end mark."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.imaging import reader
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import jpeg

FORMS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True, "quality": 30},
    "restarts": {"restart_marker_blocks": 5},
}


def encoded(image, mode="RGB", **options):
    content = io.BytesIO()
    Image.fromarray(image).convert(mode).save(content, "JPEG", **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def photo(photograph):
    return np.tile(photograph, (2, 2, 1))[:333, :487]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("form", FORMS)
def test_whole_files_are_read_also_with_bytes_behind_them(tmp_path, photo, form, mode):
    path = tmp_path / "a.jpg"
    content = encoded(photo, mode, **FORMS[form])
    for behind in (b"", b"\0" * 100, content):
        path.write_bytes(content + behind)
        jpeg.require_all_blocks(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("form", [name for name in FORMS if name != "progressive"])
def test_a_file_that_was_cut_and_closed_is_refused(tmp_path, photo, form, share):
    path = tmp_path / "a.jpg"
    content = encoded(photo, **FORMS[form])
    path.write_bytes(content[: int(share * len(content))] + b"\xff\xd9")
    with pytest.raises(ImageError, match="a.jpg: is damaged: its coded data end before"):
        reader.load(path)


def test_a_progressive_file_without_the_means_of_all_blocks_is_refused(tmp_path, photo):
    path = tmp_path / "a.jpg"
    content = encoded(photo, progressive=True)
    first = content.index(b"\xff\xda") + 400
    path.write_bytes(content[:first] + b"\xff\xd9")
    with pytest.raises(ImageError, match="is damaged"):
        reader.load(path)


def test_restarts_are_looked_at_where_a_file_was_cut_between_two_of_them(tmp_path, photo):
    path = tmp_path / "a.jpg"
    content = encoded(photo, restart_marker_blocks=5)
    path.write_bytes(content[: content.index(b"\xff\xd3", len(content) // 2)] + b"\xff\xd9")
    with pytest.raises(ImageError, match="is damaged"):
        reader.load(path)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 100), st.booleans())
def test_no_whole_file_is_refused(tmp_path_factory, height, width, quality, progressive):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    path = tmp_path_factory.getbasetemp() / "whole.jpg"
    path.write_bytes(encoded(pixels, quality=quality, progressive=progressive))
    jpeg.require_all_blocks(path)


@pytest.mark.parametrize("junk", [b"\0\x12", b"\xff\0"])
def test_bytes_between_segments_that_pillow_skips_are_no_damage(tmp_path, photo, junk):
    content = encoded(photo)
    after = 4 + int.from_bytes(content[4:6], "big")  # behind APP0
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:after] + junk + content[after:])
    expected = np.asarray(Image.open(path))
    np.testing.assert_array_equal(reader.load(path).pixels, expected)
