"""Images in all forms, written: read again by other programs and by our own reader."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from rdonet_jax.imaging import reader, writer
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import png
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import SRGB, exif_block

pytestmark = pytest.mark.once

FORMS = list(itertools.product((False, True), repeat=3))


def drawn(gray=False, is_16bit=False, alpha=False, size=(37, 53), **more):
    rng = np.random.default_rng(0)
    most, dtype = (65535, np.uint16) if is_16bit else (255, np.uint8)
    pixels = rng.integers(0, most, size if gray else (*size, 3), dtype, endpoint=True)
    return ImageData(
        pixels, rng.integers(0, most, size, dtype, endpoint=True) if alpha else None, **more
    )


def saved(tmp_path, suffix, image):
    notes = writer.save(tmp_path / f"a{suffix}", image)
    return reader.load(tmp_path / f"a{suffix}"), notes


def assert_same(image, expected):
    for name in ("pixels", "alpha"):
        one, other = getattr(image, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("gray", "is_16bit", "alpha"), FORMS)
def test_png_holds_every_form_and_all_metadata(tmp_path, gray, is_16bit, alpha):
    image = drawn(gray, is_16bit, alpha, icc=SRGB, exif=exif_block())
    again, notes = saved(tmp_path, ".png", image)
    assert notes == ()
    assert_same(again, image)
    assert (again.icc, again.exif) == (image.icc, image.exif)


@pytest.mark.parametrize(("gray", "is_16bit", "alpha"), FORMS)
def test_tiff_holds_every_form_and_the_entries_of_the_exif_data(tmp_path, gray, is_16bit, alpha):
    image = drawn(gray, is_16bit, alpha, icc=SRGB, exif=exif_block(1))
    again, notes = saved(tmp_path, ".tif", image)
    assert notes == () and again.icc == SRGB
    if gray and is_16bit and alpha:
        assert (again.pixels == image.pixels[..., None]).all()
        np.testing.assert_array_equal(again.alpha, image.alpha)
    else:
        assert_same(again, image)
    block = Image.Exif()
    block.load(again.exif)
    assert block[ExifTags.Base.Make] == "A maker"
    assert block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.02


@pytest.mark.parametrize(("gray", "is_16bit"), list(itertools.product((False, True), repeat=2)))
def test_ppm_holds_gray_and_16_bits(tmp_path, gray, is_16bit):
    again, notes = saved(tmp_path, ".ppm", drawn(gray, is_16bit))
    assert notes == ()
    assert_same(again, drawn(gray, is_16bit))


@pytest.mark.parametrize("is_16bit", [False, True])
def test_webp_holds_alpha_and_the_colors_under_it_in_8_bits(tmp_path, is_16bit):
    image = drawn(False, is_16bit, True, icc=SRGB, exif=exif_block())
    image.alpha[:20] = 0
    again, notes = saved(tmp_path, ".webp", image)
    assert notes == (("8 bits, since WEBP is written with no more",) if is_16bit else ())
    assert (again.icc, again.exif) == (SRGB, exif_block())
    scale = 257 if is_16bit else 1
    np.testing.assert_array_equal(again.pixels, np.rint(image.pixels / scale))
    np.testing.assert_array_equal(again.alpha, np.rint(image.alpha / scale))


@pytest.mark.parametrize("gray", [False, True])
def test_avif_holds_alpha_exactly_and_gray(tmp_path, gray):
    again, _ = saved(tmp_path, ".avif", drawn(gray, icc=SRGB, exif=exif_block()))
    assert (again.gray, again.icc) == (gray, SRGB)
    assert np.abs(again.pixels.astype(int) - drawn(gray).pixels).max() < 6
    again, _ = saved(tmp_path, "2.avif", drawn(gray, alpha=True))
    np.testing.assert_array_equal(again.alpha, drawn(gray, alpha=True).alpha)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_gray_stays_gray_in_jpeg_and_bmp(tmp_path, suffix, gray):
    again, _ = saved(
        tmp_path, suffix, ImageData(np.full((16, 16) if gray else (16, 16, 3), 99, "u1"))
    )
    assert again.gray == gray and (np.abs(again.pixels.astype(int) - 99) < 3).all()


def test_what_a_format_cannot_hold_is_noted(tmp_path):
    image = drawn(is_16bit=True, icc=SRGB, exif=exif_block())
    again, notes = saved(tmp_path, ".jpg", image)
    assert notes == ("8 bits, since JPEG is written with no more",)
    assert (again.icc, again.exif) == (SRGB, exif_block())
    _, notes = saved(tmp_path, ".bmp", image)
    assert notes == (
        "8 bits, since BMP is written with no more",
        "without its color profile, which BMP cannot hold",
        "without its EXIF data, which BMP cannot hold",
    )
    long = ImageData(np.zeros((4, 4), np.uint8), exif=exif_block() + bytes(65536))
    assert saved(tmp_path, "2.jpg", long)[1] == ("without its EXIF data, which JPEG cannot hold",)
    assert saved(tmp_path, "2.png", long)[0].exif == long.exif


@pytest.mark.parametrize("suffix", [".tif", ".avif"])
def test_damaged_exif_data_is_left_out_where_it_would_spoil_the_file(tmp_path, suffix):
    # The name of the maker as a fraction.
    damaged = b"II*\0\x08\0\0\0\1\0\x0f\1\5\0\1\0\0\0\0\0\0\0\0\0\0\0"
    image = drawn(exif=damaged)
    name = {".tif": "TIFF", ".avif": "AVIF"}[suffix]
    again, notes = saved(tmp_path, suffix, image)
    assert notes == (f"without its EXIF data, which is damaged and would spoil {name}",)
    assert again.exif == b"" and again.size == image.size


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
def test_exif_data_that_is_none_is_not_written(tmp_path, suffix):
    again, notes = saved(tmp_path, suffix, drawn(exif=b"no header of EXIF data" * 3))
    assert notes == ("without its EXIF data, which is none",) and again.exif == b""


def test_a_profile_for_gray_does_not_go_into_a_file_of_rgb(tmp_path):
    profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    note = "without its color profile for gray, since its colors become RGB"
    assert writer.save(tmp_path / "a.webp", drawn(gray=True, icc=profile)) == (note,)
    assert not Image.open(tmp_path / "a.webp").info.get("icc_profile")
    is_16bit = drawn(gray=True, is_16bit=True, alpha=True, icc=profile)
    assert writer.save(tmp_path / "a.tif", is_16bit) == (note,)
    assert writer.save(tmp_path / "a.png", is_16bit) == ()


def test_avif_gets_no_code_points_of_video_range(tmp_path):
    image = drawn(cicp=Cicp(9, 16, False))
    again, notes = saved(tmp_path, ".avif", image)
    words = "BT.2020 with PQ of video range"
    assert notes == (f"without what its colors are ({words}), which AVIF cannot hold",)
    assert again.cicp is None
    assert saved(tmp_path, ".png", image)[0].cicp == image.cicp


def test_code_points_count_more_than_a_profile_in_avif_too(tmp_path):
    again, notes = saved(tmp_path, ".avif", drawn(icc=SRGB, cicp=Cicp(9, 16)))
    assert notes == ("without its color profile, since AVIF says what its colors are",)
    assert (again.cicp, again.icc) == (Cicp(9, 16), b"")
    again, notes = saved(tmp_path, "2.avif", drawn(icc=SRGB, cicp=Cicp(2, 2)))
    assert (again.icc, notes) == (SRGB, ())


def test_a_format_that_pillow_cannot_write_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(writer.features, "check", lambda name: name != "avif")
    with pytest.raises(ImageError, match="cannot write AVIF"):
        writer.check(tmp_path / "a.avif", False, (9, 9))
    writer.check(tmp_path / "a.webp", False, (9, 9))


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm"])
def test_alpha_is_refused_where_there_is_no_place_for_it(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ImageError, match=r"transparency: .*\.png.*--background"):
        writer.save(path, drawn(alpha=True))
    with pytest.raises(ImageError, match="transparency"):
        writer.check(path, False, (4, 4), alpha=True)
    writer.check(path, False, (4, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (300, 5), (600, 1)])
def test_16_bit_png_is_what_imagecodecs_reads_too(channels, size):
    imagecodecs = pytest.importorskip("imagecodecs")
    samples = np.random.default_rng(0).integers(0, 65536, (*size, channels), np.uint16)
    data = b"".join(png.encode(samples))
    again = imagecodecs.png_decode(data)
    np.testing.assert_array_equal(again.reshape(samples.shape), samples)
    kinds = [kind for kind, _ in png.chunks(data)]
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and set(kinds[1:-1]) == {b"IDAT"}


@pytest.mark.parametrize(("gray", "is_16bit", "alpha"), FORMS)
def test_tiff_is_what_tifffile_reads_too(tmp_path, gray, is_16bit, alpha):
    image = drawn(gray, is_16bit, alpha, size=(700, 400), icc=SRGB, exif=exif_block())
    writer.save(tmp_path / "a.tif", image)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        samples = page.asarray()
        assert page.iccprofile == SRGB and len(page.dataoffsets) > 1
    samples = samples[..., None] if samples.ndim == 2 else samples
    np.testing.assert_array_equal(samples[..., : 1 if gray else 3].squeeze(), image.pixels)
    assert samples.shape[2] % 2 == (0 if alpha else 1)


def test_exif_data_cannot_overwrite_the_tags_of_a_tiff_files_pixels(tmp_path):
    block = Image.Exif()
    block[ExifTags.Base.Make] = "A maker"
    for tag in (256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 338, 34675):
        block[tag] = 7
    image = drawn(exif=block.tobytes().removeprefix(b"Exif\0\0"))
    again, _ = saved(tmp_path, ".tif", image)
    assert_same(again, image)


def test_smooth_images_of_16_bits_get_small():
    ramp = np.add.outer(np.arange(512), 3 * np.arange(512)).astype(np.uint16)[..., None]
    file = io.BytesIO()
    file.writelines(png.encode(ramp))
    assert file.tell() < ramp.nbytes / 50


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(ImageError, match="exists already"):
        writer.save(path, drawn())
    assert path.read_bytes() == b"precious"
    writer.save(path, drawn(), force=True)
    assert_same(reader.load(path), drawn())
    assert list(tmp_path.iterdir()) == [path]
