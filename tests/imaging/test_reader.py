"""Files in all forms, read: against samples that were written by their formats' specifications."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.imaging import reader
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import avif
from tests.image_samples import (
    CHANNELS,
    assert_same,
    chunk,
    drawn,
    expected_of,
    load,
    png,
    write_animation,
)

pytestmark = pytest.mark.once

# PNG


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        *(("gray", depth) for depth in (1, 2, 4, 8, 16)),
        *((kind, depth) for kind in ("rgb", "gray-alpha", "rgb-alpha") for depth in (8, 16)),
    ],
)
def test_png_of_every_mode_and_depth_is_read_in_its_own_form(tmp_path, kind, depth, interlaced):
    samples = drawn(CHANNELS[kind], depth)
    image = load(tmp_path, png(samples, kind, depth, interlaced=interlaced))
    assert_same(image, *expected_of(samples, depth))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, b"\x00", b"\x00\x80", b"\xff\x07"])
def test_a_palette_becomes_rgb_with_the_alpha_of_its_entries(tmp_path, depth, transparency):
    samples = drawn(1, depth)
    palette = np.random.default_rng(1).integers(0, 256, (2**depth, 3), dtype=np.uint8)
    before = [(b"PLTE", palette.tobytes())]
    opacities = np.full(2**depth, 255, np.uint8)
    if transparency:
        before.append((b"tRNS", transparency))
        opacities[: len(transparency)] = list(transparency)
    image = load(tmp_path, png(samples, "palette", depth, before=before))
    index = samples[..., 0]
    alpha = opacities[index]
    assert_same(image, palette[index], None if (alpha == 255).all() else alpha)


@pytest.mark.parametrize(
    ("kind", "depth"), [*(("gray", d) for d in (1, 2, 4, 8, 16)), ("rgb", 8), ("rgb", 16)]
)
def test_a_transparent_color_hides_its_pixels_and_no_others(tmp_path, kind, depth):
    samples = drawn(CHANNELS[kind], depth)
    samples[3, 4] = samples[5, 6] = key = samples[0, 0] | 1
    samples[7, 8] = key
    samples[7, 8, -1] ^= 1  # a neighbor of the color, by its lowest bit
    before = [(b"tRNS", key.astype(">u2").tobytes())]
    hidden = (samples == key).all(axis=2)
    assert 2 <= hidden.sum() < hidden.size and not hidden[7, 8]
    pixels, _ = expected_of(samples, depth)
    alpha = np.where(hidden, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    assert_same(load(tmp_path, png(samples, kind, depth, before=before)), pixels, alpha)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_color_that_is_nowhere_leaves_no_alpha(tmp_path, depth):
    samples = drawn(3, depth) & ~np.uint16(1)
    before = [(b"tRNS", struct.pack(">HHH", 1, 1, 1))]
    assert load(tmp_path, png(samples, "rgb", depth, before=before)).alpha is None


@pytest.mark.parametrize("kind", ["gray-alpha", "rgb-alpha"])
@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_that_is_opaque_everywhere_is_dropped_and_no_other(tmp_path, kind, depth):
    samples = drawn(CHANNELS[kind], depth)
    samples[..., -1] = 2**depth - 1
    assert load(tmp_path, png(samples, kind, depth)).alpha is None
    samples[10, 12, -1] -= 1
    assert load(tmp_path, png(samples, kind, depth)).alpha is not None


@pytest.mark.parametrize("size", [(1, 1), (1, 10000), (10000, 1)])
@pytest.mark.parametrize("depth", [1, 16])
def test_long_and_thin_images_are_read(tmp_path, size, depth):
    samples = drawn(1, depth, *size)
    assert_same(load(tmp_path, png(samples, "gray", depth)), *expected_of(samples, depth))


# TIFF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_is_read_in_its_own_form(tmp_path, order, compression, channels, depth):
    samples = drawn(channels, depth).astype(f"u{depth // 8}")
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples.squeeze(),
        photometric="rgb" if channels > 2 else "minisblack",
        byteorder=order,
        compression=compression,
        extrasamples=["unassalpha"] if channels == 4 else None,
        metadata=None,
    )
    assert_same(reader.load(tmp_path / "a.tif"), *expected_of(samples, depth))


def test_tiff_of_16_bits_whose_white_is_zero_is_turned_over(tmp_path):
    samples = drawn(1, 16)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="miniswhite", metadata=None)
    assert_same(reader.load(tmp_path / "a.tif"), 65535 - samples)


def test_tiff_of_16_bits_premultiplied_is_divided_by_its_alpha(tmp_path):
    samples = np.array([[[100, 200, 300, 65535], [100, 0, 32768, 32768], [0, 0, 0, 0]]], np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"], metadata=None
    )
    colors = [[[100, 200, 300], [200, 0, 65535], [0, 0, 0]]]
    assert_same(reader.load(tmp_path / "a.tif"), np.array(colors, np.uint16), samples[..., 3])


# PPM and others


@pytest.mark.parametrize("largest", [255, 100, 256, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6"])
def test_binary_ppm_is_read_with_any_largest_number(tmp_path, magic, largest):
    channels = 1 if magic == b"P5" else 3
    samples = np.random.default_rng(0).integers(0, largest + 1, (11, 13, channels))
    stored = samples.astype(">u2" if largest > 255 else np.uint8).tobytes()
    data = b"%s\n13 11\n%d\n" % (magic, largest) + stored
    most = 65535 if largest > 255 else 255
    exact = (samples * most / largest).squeeze()
    pixels = load(tmp_path, data, "a.ppm").pixels
    assert pixels.dtype == (np.uint16 if largest > 255 else np.uint8)
    assert np.abs(pixels - exact).max() <= 0.5
    with pytest.raises(ImageError, match="damaged"):
        load(tmp_path, data[:-1], "b.ppm")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_gray_or_rgb_as_its_file_is(tmp_path, mode):
    Image.linear_gradient("L").convert(mode).save(tmp_path / "a.jpg")
    shape = (256, 256) if mode == "L" else (256, 256, 3)
    assert reader.load(tmp_path / "a.jpg").pixels.shape == shape


@pytest.mark.parametrize("suffix", ["webp", "gif", "bmp", "tga", "qoi", "jp2", "tif", "png"])
def test_other_formats_are_read_as_pillow_reads_them(tmp_path, suffix):
    source = Image.fromarray(drawn(3, 8).astype(np.uint8))
    source.save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as again:
        expected = np.array(again.convert("RGB"))
    assert_same(reader.load(tmp_path / f"a.{suffix}"), expected)


def test_the_transparency_of_a_gif_is_read(tmp_path):
    source = Image.new("P", (4, 2), 1)
    source.putpalette([9, 8, 7, 200, 100, 50])
    source.putpixel((2, 1), 0)
    source.save(tmp_path / "a.gif", transparency=0)
    image = reader.load(tmp_path / "a.gif")
    assert image.alpha[1, 2] == 0 and image.alpha.sum() == 7 * 255
    assert image.pixels[0, 0].tolist() == [200, 100, 50]


def test_the_alpha_of_a_palette_of_tga_is_read(tmp_path):
    """Pillow reads such a palette as RGBA, and reports no transparency besides."""
    palette = np.random.default_rng(2).integers(0, 256, (16, 4), np.uint8)
    index = drawn(1, 4)[..., 0].astype(np.uint8)
    header = struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, 16, 32, 0, 0, 13, 11, 8, 0x20)
    data = header + palette[:, [2, 1, 0, 3]].tobytes() + index.tobytes()
    colors = palette[index]
    assert_same(load(tmp_path, data, "a.tga"), colors[..., :3], colors[..., 3])


def test_the_main_image_of_a_camera_file_with_previews_is_read(tmp_path):
    main, preview = Image.new("RGB", (16, 16), "white"), Image.new("RGB", (8, 8))
    main.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[preview])
    assert reader.load(tmp_path / "phone.jpg").size == (16, 16)


# AVIF


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_of_10_and_12_bits_is_read_as_16(tmp_path, bits, channels):
    imagecodecs = pytest.importorskip("imagecodecs")
    ramp = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64).astype(np.uint16)
    samples = np.stack([ramp, ramp[::-1], ramp[:, ::-1], ramp][:channels], axis=2)
    data = imagecodecs.avif_encode(samples.squeeze(), level=100, bitspersample=bits)
    image = load(tmp_path, data, "a.avif")
    pixels, alpha = expected_of(samples, bits)
    assert image.pixels.dtype == np.uint16
    assert len(np.unique(image.pixels)) > 512
    assert np.abs(image.pixels.astype(int) - pixels).max() < 65536 / 2**bits * 4
    if alpha is not None:
        assert np.abs(image.alpha.astype(int) - alpha).max() < 65536 / 2**bits * 2


def test_an_error_names_the_package_that_avif_of_10_bits_needs(tmp_path, monkeypatch):
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.avif_encode(drawn(3, 10), level=90, bitspersample=10)

    def missing(*_):
        raise avif.MissingDecoderError

    monkeypatch.setattr(avif, "decode", missing)
    with pytest.raises(ImageError, match=r"AVIF of 10 bits.*pip install 'rdonet-jax\[avif\]'"):
        load(tmp_path, data, "a.avif")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_of_8_bits_is_read_with_its_mode(tmp_path, mode):
    source = Image.linear_gradient("L").convert(mode)
    source.putalpha(Image.radial_gradient("L")) if mode == "RGBA" else None
    subsampling = "4:0:0" if mode == "L" else "4:4:4"
    source.save(tmp_path / "a.avif", quality=100, subsampling=subsampling)
    image = reader.load(tmp_path / "a.avif")
    assert image.gray == (mode == "L") and not image.is_16bit
    assert (image.alpha is not None) == (mode == "RGBA")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_depth_of_avif_is_that_of_its_main_image(tmp_path, mode):
    source = Image.linear_gradient("L").convert(mode)
    source.save(tmp_path / "a.avif", subsampling="4:0:0" if mode == "L" else "4:4:4")
    data = (tmp_path / "a.avif").read_bytes()
    of_12_bit_color = b"av1C" + bytes([0x81, 0x20, 0x60, 0])
    after = struct.pack(">I4sI", 20, b"free", 12) + of_12_bit_color
    image, expected = load(tmp_path, data + after, "b.avif"), load(tmp_path, data, "a.avif")
    assert image.gray == (mode == "L")
    assert_same(image, expected.pixels)


# What is refused


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("CMYK", "is CMYK, convert it"),
        ("F", "holds floating-point numbers"),
        ("I", "holds signed numbers"),
        ("YCbCr", "is a YCbCr image, convert it"),
        ("LAB", r"is CIE L\*a\*b\*, convert it"),
    ],
)
def test_other_modes_are_refused_by_name(tmp_path, mode, reason):
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=rf"a\.tif: {reason}"):
        reader.load(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "avif"])
def test_animations_are_refused(tmp_path, suffix):
    write_animation(tmp_path / f"film.{suffix}")
    with pytest.raises(ImageError, match=r"film\.\w+: has 3 (frames|pages).*--first-frame"):
        reader.load(tmp_path / f"film.{suffix}")


def test_images_that_claim_too_many_pixels_are_refused_unread(tmp_path):
    header = struct.pack(">IIBBBBB", 2**14, 2**14 - 1, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="far too large"):
        load(tmp_path, data)
    with pytest.raises(ImageError, match="13 x 11 pixels, more than the limit of 142"):
        load(tmp_path, png(drawn(1, 8), "gray", 8), max_pixels=142)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["gray", "rgb", "gray-alpha", "rgb-alpha"]),
    depth=st.sampled_from([8, 16]),
    suffix=st.sampled_from(["png", "tif", "ppm", "avif"]),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    length=st.floats(0.3, 1),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_an_image_or_an_image_error(
    tmp_path_factory, kind, depth, suffix, damage, length
):
    path = Path(tmp_path_factory.mktemp("damage")) / f"a.{suffix}"
    samples = drawn(CHANNELS[kind], depth)
    if suffix == "png":
        path.write_bytes(png(samples, kind, depth))
    elif suffix == "tif":
        tifffile.imwrite(path, samples[..., :1].squeeze(), metadata=None)
    elif suffix == "ppm":
        path.write_bytes(b"P6\n13 11\n4095\n" + drawn(3, 12).astype(">u2").tobytes())
    else:
        Image.fromarray(drawn(3, 8).astype(np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    for place, value in damage:
        data[int(place * (len(data) - 1))] = value
    path.write_bytes(data[: max(1, round(length * len(data)))])
    try:
        image = reader.load(path)
    except ImageError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert image.pixels.size


@pytest.mark.parametrize(
    ("entry", "changed", "words"),
    [
        ((259, 3, 1, 1), (259, 3, 300, 8), "damaged"),
        ((262, 3, 1, 1), (262, 2, 1, 1), "colors of the kind"),
    ],
    ids=["a tag of too many values", "a tag with a control character"],
)
@pytest.mark.filterwarnings("ignore:Metadata Warning:UserWarning:PIL")
def test_what_a_tiff_file_holds_does_not_spoil_the_message(tmp_path, entry, changed, words):
    path = tmp_path / "a.tif"
    gray = np.zeros((40, 60, 2), np.uint16)
    tifffile.imwrite(path, gray, photometric="minisblack", extrasamples=[2], planarconfig="contig")
    before, after = (struct.pack("<HHII", *values) for values in (entry, changed))
    assert before in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(before, after))
    with pytest.raises(ImageError, match=words) as caught:
        reader.load(path)
    assert len(str(caught.value)) < len(str(path)) + 300 and str(caught.value).isprintable()
