"""Files of all kinds, made here: what is read equals how they were made, the rest is named."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.imaging import reader, srgb
from rdonet_jax.imaging.errors import ImageError
from tests.image_samples import (
    CHANNELS,
    SRGB,
    assert_same,
    chunk,
    drawn,
    exif_block,
    expected_of,
    load,
    png,
    write_animation,
)

# The one with which tifffile packs bits.
imagecodecs = pytest.importorskip("imagecodecs", minversion="2026.3.6")

pytestmark = pytest.mark.once

SIZES = [(1, 1), (1, 32), (2, 3), (5, 7), (8, 8), (9, 31), (32, 1), (32, 32)]
SMOOTH = np.stack(
    [
        *np.meshgrid(np.linspace(20, 230, 40), np.linspace(30, 200, 24)),
        np.full((24, 40), 99.0),
    ],
    axis=2,
).astype(np.uint8)


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def refused(tmp_path, data, reason, name="a.png"):
    with pytest.raises(ImageError, match=reason) as caught:
        load(tmp_path, data, name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)


# PNG


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_png_of_every_small_size(tmp_path, size, interlaced):
    for kind, depth in [("gray", 1), ("gray", 4), ("rgb", 8), ("rgb-alpha", 16)]:
        samples = drawn(CHANNELS[kind], depth, *size)
        image = load(tmp_path, png(samples, kind, depth, interlaced=interlaced))
        assert_same(image, *expected_of(samples, depth))


def test_png_with_its_data_in_many_chunks_and_others_around(tmp_path):
    samples = drawn(3, 8)
    data = png(samples, "rgb", 8)
    at = data.index(b"IDAT")
    (length,) = struct.unpack_from(">I", data, at - 4)
    stored, end = data[at + 4 : at + 4 + length], data[at + 8 + length :]
    parts = b"".join(chunk(b"IDAT", stored[n : n + 1]) for n in range(length))
    around = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"prVt", b"private")
    odd = data[: at - 4] + around + chunk(b"IDAT", b"") + parts + chunk(b"tEXt", b"a\0b") + end
    assert_same(load(tmp_path, odd), *expected_of(samples, 8))


def header(width=13, height=11, depth=8, color=2):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


@pytest.mark.parametrize(
    "parts",
    {
        "no pixels": [header(), chunk(b"IEND", b"")],
        "nothing but a header": [header()],
        "no header": [chunk(b"IDAT", zlib.compress(bytes(440)))],
        "no width": [header(width=0), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")],
        "no height": [header(height=0), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")],
        "a color type of no meaning": [
            header(color=5),
            chunk(b"IDAT", zlib.compress(bytes(440))),
        ],
        "a depth that is none": [header(depth=3), chunk(b"IDAT", zlib.compress(bytes(440)))],
        "a false checksum": [header()[:-1] + b"\0", chunk(b"IDAT", zlib.compress(bytes(440)))],
        "too few pixels": [header(), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")],
        "what is no Deflate": [header(), chunk(b"IDAT", b"abcdefgh"), chunk(b"IEND", b"")],
    }.values(),
)
def test_broken_png_is_refused(tmp_path, parts):
    refused(tmp_path, b"\x89PNG\r\n\x1a\n" + b"".join(parts), "damaged|cannot be read")


# JPEG


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_jpeg_of_every_subsampling(tmp_path, subsampling, options):
    data = saved(Image.fromarray(SMOOTH), "JPEG", quality=95, subsampling=subsampling, **options)
    image = load(tmp_path, data, "a.jpg")
    np.testing.assert_array_equal(image.pixels, imagecodecs.jpeg8_decode(data))
    assert np.abs(image.pixels.astype(int) - SMOOTH).mean() < 3


def test_jpeg_of_gray_stays_so(tmp_path):
    data = saved(Image.fromarray(SMOOTH[..., 0]), "JPEG", quality=95)
    assert_same(load(tmp_path, data, "a.jpg"), imagecodecs.jpeg8_decode(data))


@pytest.mark.parametrize("gray", [True, False])
def test_jpeg_of_12_bits_is_read_as_16_with_profile_and_orientation(tmp_path, gray, monkeypatch):
    samples = SMOOTH.astype(np.uint16) * 16 + 7
    samples = samples[..., 0].copy() if gray else samples
    more = {} if gray else {"subsampling": "444"}
    data = imagecodecs.jpeg8_encode(samples, level=100, bitspersample=12, **more)
    profile = b"\xff\xe2" + struct.pack(">H", 16 + len(SRGB)) + b"ICC_PROFILE\0\1\1" + SRGB
    block = b"Exif\0\0" + exif_block(orientation=6)
    told = b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block
    data = data[:2] + told + profile + data[2:]
    image = load(tmp_path, data, "a.jpg")
    assert image.is_16bit and image.gray == gray and image.icc == SRGB and image.exif
    exact = np.rot90(samples, 3).astype(float) * 65535 / 4095
    assert np.abs(image.pixels - exact).max() < 4 * 16
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    refused(tmp_path, data, "JPEG of 12 bits.*pip install imagecodecs", "a.jpg")


def test_jpeg_of_other_kinds_is_named(tmp_path):
    refused(tmp_path, saved(Image.new("CMYK", (9, 9)), "JPEG"), "is a CMYK image", "a.jpg")
    lossless = imagecodecs.jpeg8_encode(drawn(1, 16)[..., 0], lossless=True)
    refused(tmp_path, lossless, "is lossless JPEG", "a.jpg")
    refused(tmp_path, imagecodecs.jpegls_encode(SMOOTH), "is JPEG-LS", "a.jpg")


def test_jpeg_that_ends_early_is_refused(tmp_path):
    noise = Image.fromarray(drawn(3, 8, 64, 64).astype(np.uint8))
    refused(tmp_path, saved(noise, "JPEG")[:900], "damaged", "a.jpg")


# BMP, GIF, TGA, WebP and Netpbm


def bmp(lines, width, height, bits, palette=b"", masks=b""):
    """By hand, its rows from the bottom up, each filled up to 4 bytes."""
    rows = b"".join(line + bytes(-len(line) % 4) for line in reversed(lines))
    start = 54 + len(masks) + len(palette)
    kind = 3 if masks else 0
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(rows), 0, 0, 0, 0)
    file = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return file + info + masks + palette + rows


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_with_a_palette(tmp_path, bits):
    index = drawn(1, bits)[..., 0].astype(np.uint8)
    palette = np.random.default_rng(3).integers(0, 256, (2**bits, 4), np.uint8)
    unpacked = np.unpackbits(index[..., None], axis=2)[..., 8 - bits :].reshape(len(index), -1)
    lines = [row.tobytes() for row in np.packbits(unpacked, axis=1)]
    data = bmp(lines, 13, 11, bits, palette.tobytes())
    assert_same(load(tmp_path, data, "a.bmp"), palette[index][..., 2::-1])


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_bmp_of_true_color(tmp_path, bits):
    samples = drawn(3, 8).astype(np.uint8)
    if bits == 16:  # 5 bits a channel
        five = samples >> 3
        red, green, blue = (five[..., n].astype("<u2") for n in range(3))
        lines = [row.tobytes() for row in red << 10 | green << 5 | blue]
        expected = (five.astype(int) * 255 // 31).astype(np.uint8)
    else:
        last = np.zeros((11, 13, bits // 8 - 3), np.uint8)
        lines = [r.tobytes() for r in np.concatenate([samples[..., ::-1], last], axis=2)]
        expected = samples
    image = load(tmp_path, bmp(lines, 13, 11, bits), "a.bmp")
    assert np.abs(image.pixels.astype(int) - expected).max() <= (bits == 16)
    assert image.alpha is None


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_tga(tmp_path, mode, compression):
    source = Image.fromarray(drawn(4, 8).astype(np.uint8)).convert(mode)
    image = load(tmp_path, saved(source, "TGA", compression=compression), "a.tga")
    # The palette of an image with alpha has alpha too.
    whole = np.array(source.convert({"P": "RGBA"}.get(mode, mode)))
    alpha = whole[..., -1] if mode in ("LA", "P", "RGBA") else None
    colors = {"L": whole, "LA": whole[..., 0]}.get(mode, whole[..., :3])
    assert_same(image, colors, alpha)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp(tmp_path, mode, lossless):
    whole = np.dstack([SMOOTH, SMOOTH[..., 0]])[..., : len(mode)]
    data = saved(Image.fromarray(whole), "WEBP", lossless=lossless, quality=95, exact=True)
    image = load(tmp_path, data, "a.webp")
    difference = np.abs(image.pixels.astype(int) - SMOOTH).max()
    assert difference == 0 if lossless else difference < 24
    assert (image.alpha is None) == (mode == "RGB")


@pytest.mark.parametrize("magic", [1, 2, 3, 4, 5, 6])
def test_netpbm(tmp_path, magic):
    bits, channels = 1 if magic in (1, 4) else 8, 3 if magic in (3, 6) else 1
    samples = drawn(channels, bits).astype(np.uint8)
    lines = samples.reshape(11, -1)
    if magic <= 3:
        stored = "\n".join(" ".join(map(str, line)) for line in lines).encode()
    else:
        stored = (np.packbits(lines, axis=1) if bits == 1 else lines).tobytes()
    head = b"P%d\n# a comment\n13 11\n" % magic + (b"" if bits == 1 else b"255\n")
    expected = 255 * (1 - samples) if bits == 1 else samples
    assert_same(load(tmp_path, head + stored, "a.pnm"), expected.squeeze())


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        ("BLACKANDWHITE", 1),
        ("GRAYSCALE", 1),
        ("GRAYSCALE_ALPHA", 2),
        ("RGB", 3),
        ("RGB_ALPHA", 4),
    ],
)
@pytest.mark.parametrize("largest", [1, 100, 255, 1023, 65535])
def test_pam(tmp_path, kind, channels, largest):
    samples = np.random.default_rng(0).integers(0, largest + 1, (11, 13, channels))
    stored = samples.astype(">u2" if largest > 255 else np.uint8).tobytes()
    head = b"P7\n# a comment\nWIDTH 13\nHEIGHT 11\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n"
    head %= channels, largest, kind.encode()
    image = load(tmp_path, head + stored, "a.pam")
    most = 65535 if largest > 255 else 255
    exact = samples * most / largest
    colors = exact[..., 0] if channels < 3 else exact[..., :3]
    assert image.is_16bit == (largest > 255)
    assert np.abs(image.pixels - colors).max() <= 0.5
    if channels in (2, 4):
        assert np.abs(image.alpha - exact[..., -1]).max() <= 0.5
    refused(tmp_path, head + stored[:-1], "ends before its last pixel", "b.pam")
    for wrong in (b"DEPTH 5", b"MAXVAL 0", b"WIDTH x"):
        line = next(each for each in head.split(b"\n") if each.startswith(wrong.split()[0]))
        refused(tmp_path, head.replace(line, wrong) + stored, "is PAM of|is damaged", "b.pam")


# TIFF


def tiff(samples, **options):
    buffer = io.BytesIO()
    colors = samples.ndim == 3 and samples.shape[2] > 2
    options.setdefault("photometric", "rgb" if colors else "minisblack")
    if (
        samples.ndim == 3
        and samples.shape[2] in (2, 4)
        and options.get("planarconfig") != "separate"
    ):
        options.setdefault("extrasamples", ["unassalpha"])
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}])
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_of_every_layout(tmp_path, order, compression, layout, depth):
    samples = drawn(3, depth, 33, 35).astype(f"u{depth // 8}")
    data = tiff(samples, byteorder=order, compression=compression, **layout)
    assert_same(load(tmp_path, data, "a.tif"), samples)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "zlib"}])
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_of_gray_and_alpha(tmp_path, order, options, depth):
    samples = drawn(2, depth).astype(f"u{depth // 8}")
    data = tiff(samples, byteorder=order, planarconfig="contig", **options)
    assert_same(load(tmp_path, data, "a.tif"), samples[..., 0], samples[..., 1])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_with_its_channels_apart(tmp_path, depth, compression):
    samples = drawn(3, depth).astype(f"u{depth // 8}")
    planes = np.moveaxis(samples, 2, 0)
    data = tiff(planes, photometric="rgb", planarconfig="separate", compression=compression)
    assert_same(load(tmp_path, data, "a.tif"), samples)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiff_of_packed_bits(tmp_path, bits, channels):
    samples = drawn(channels, bits)
    data = tiff(
        samples.squeeze(), bitspersample=bits, photometric=["rgb", "minisblack"][channels < 3]
    )
    image = load(tmp_path, data, "a.tif")
    assert image.is_16bit
    exact = samples.squeeze() * (65535 / (2**bits - 1))
    assert np.abs(image.pixels - exact).max() <= 0.5


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("depth", [1, 8, 16])
def test_tiff_whose_white_is_zero(tmp_path, photometric, depth):
    samples = drawn(1, depth)[..., 0]
    stored = samples.astype(bool if depth == 1 else f"u{depth // 8}")
    image = load(tmp_path, tiff(stored, photometric=photometric), "a.tif")
    pixels, _ = expected_of(samples[..., None], depth)
    most = np.iinfo(pixels.dtype).max
    assert_same(image, most - pixels if photometric == "miniswhite" else pixels)


def test_tiff_with_a_palette(tmp_path):
    index, colors = drawn(1, 8)[..., 0].astype(np.uint8), drawn(256, 8, 3, 1)[:, 0] * 257
    data = tiff(index, photometric="palette", colormap=colors.astype(np.uint16))
    assert_same(load(tmp_path, data, "a.tif"), (colors.T >> 8).astype(np.uint8)[index])


@pytest.mark.parametrize("channels", [2, 3])
def test_tiff_that_tifffile_reads_keeps_profile_exif_and_orientation(tmp_path, channels):
    samples = drawn(channels, 16)
    tags = [(271, "s", 0, "A maker", True), (274, "H", 1, 6, True)]
    if channels == 3:
        data = tiff(
            np.moveaxis(samples, 2, 0), photometric="rgb", planarconfig="separate",
            iccprofile=SRGB, extratags=tags,
        )  # fmt: skip
    else:
        data = tiff(samples, planarconfig="contig", iccprofile=SRGB, extratags=tags)
    image = load(tmp_path, data, "a.tif")
    block = Image.Exif()
    block.load(image.exif)
    assert image.icc == SRGB and block[271] == "A maker" and block.get(274, 1) == 1
    upright = np.rot90(samples, 3)
    np.testing.assert_array_equal(image.pixels, upright if channels == 3 else upright[..., 0])


def test_an_error_names_the_package_that_tiff_needs(tmp_path, monkeypatch):
    data = tiff(drawn(2, 16), planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused(tmp_path, data, r"pip install 'rdonet-jax\[tiff\]'", "a.tif")


def test_bigtiff_with_a_number_of_64_bits(tmp_path):
    data = tiff(SMOOTH, bigtiff=True, extratags=[(65006, "Q", 1, 2**40, True)])
    assert_same(load(tmp_path, data, "a.tif"), SMOOTH)


@pytest.mark.parametrize("first", ["image", "thumbnail", "mask"])
def test_tiff_pages_that_are_copies_or_masks_do_not_count(tmp_path, first):
    pages = {
        "image": (SMOOTH, 0),
        "thumbnail": (SMOOTH[::2, ::2], 1),
        "mask": (SMOOTH[..., 0] > 99, 4),
    }
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for name in sorted(pages, key=lambda name: name != first):
            samples, kind = pages[name]
            file.write(np.ascontiguousarray(samples), subfiletype=kind, metadata=None,
                       photometric="rgb" if samples.ndim == 3 else "mask")  # fmt: skip
    assert_same(reader.load(tmp_path / "a.tif"), SMOOTH)


def test_a_thumbnail_before_an_image_of_16_bits(tmp_path):
    is_16bit = drawn(3, 16, 24, 40)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(SMOOTH[::2, ::2].copy(), subfiletype=1, photometric="rgb", metadata=None)
        file.write(is_16bit, photometric="rgb", metadata=None)
    assert_same(reader.load(tmp_path / "a.tif"), is_16bit)


@pytest.mark.parametrize(
    ("dtype", "photometric", "channels", "reason"),
    [
        ("i1", "minisblack", 1, "holds signed numbers"),
        ("i2", "minisblack", 1, "holds signed numbers"),
        ("i4", "minisblack", 1, "holds signed numbers"),
        ("i1", "rgb", 3, "holds signed numbers"),
        ("f4", "minisblack", 1, "holds floating-point numbers"),
        ("f2", "rgb", 3, "holds floating-point numbers"),
        ("f4", "rgb", 3, "holds floating-point numbers"),
        ("u4", "minisblack", 1, "has 32 bits per channel"),
        ("u1", "separated", 4, "is CMYK"),
        ("u2", "separated", 4, "is CMYK"),
        ("u2", "cielab", 3, "is CIE L"),
        ("u2", "cfa", 1, "is the raw data of a camera"),
    ],
)
def test_tiff_that_cannot_be_coded_is_named(tmp_path, dtype, photometric, channels, reason):
    samples = np.zeros((11, 13, channels), dtype).squeeze()
    more = {"extrasamples": ()} if channels == 4 else {}
    refused(tmp_path, tiff(samples, photometric=photometric, **more), reason, "a.tif")


def test_tiff_of_five_channels_is_refused(tmp_path):
    samples = drawn(5, 16)
    data = tiff(samples, photometric="rgb", extrasamples=[0, 0], planarconfig="contig")
    refused(tmp_path, data, "channels besides colors and alpha", "a.tif")


# HEIC and JPEG XL


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_heic_is_read_in_its_depth(tmp_path, bits, mode, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    wide = np.dstack([SMOOTH, SMOOTH[..., 1]])[..., : len(mode)].astype(np.uint16) * 257
    if bits == 8:
        stored, name = (wide >> 8).astype(np.uint8), mode
    else:
        stored, name = wide, f"{mode};16"
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    written = pillow_heif.from_bytes(name, SMOOTH.shape[1::-1], stored.tobytes())
    buffer = io.BytesIO()
    written.save(buffer, quality=-1, chroma=444)
    image = load(tmp_path, buffer.getvalue(), "a.heic")
    assert image.is_16bit == (bits > 8)
    most = 1 if bits == 8 else 257
    both = [image.pixels] + ([image.alpha[..., None]] if mode == "RGBA" else [])
    found = np.concatenate(both, axis=2)
    exact = wide / 257 * most
    assert np.abs(found - exact).max() <= 2.5 * 65535 / (2**bits - 1) * most / 257


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("bare", [False, True])
def test_jpeg_xl_is_read_in_its_depth(tmp_path, bits, channels, bare):
    pytest.importorskip("pillow_jxl")
    samples = drawn(channels, bits, 20, 36)
    stored = samples.astype(np.uint8 if bits == 8 else np.uint16).squeeze()
    data = imagecodecs.jpegxl_encode(
        stored, lossless=True, bitspersample=bits, usecontainer=not bare
    )
    image = load(tmp_path, data, "a.jxl")
    assert image.is_16bit == (bits > 8)
    most = 65535 if bits > 8 else 255
    exact = samples * (most / (2**bits - 1))
    colors = exact[..., :3] if channels > 2 else exact[..., 0]
    assert np.abs(image.pixels - colors).max() <= 0.51


def test_the_orientation_of_jpeg_xl_is_that_of_its_codestream(tmp_path):
    """The orientation in EXIF data is applied only in files that are transcoded JPEG."""
    pytest.importorskip("pillow_jxl")
    told = b"Exif\0\0" + exif_block(orientation=6)
    Image.fromarray(SMOOTH).save(tmp_path / "a.jxl", lossless=True, exif=told)
    image = reader.load(tmp_path / "a.jxl")
    np.testing.assert_array_equal(image.pixels, SMOOTH)
    assert b"A maker" in image.exif
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=told)
    with Image.open(tmp_path / "a.jpg") as source:
        source.save(tmp_path / "b.jxl", lossless_jpeg=True)
    packed, plain = (reader.load(tmp_path / name) for name in ("b.jxl", "a.jpg"))
    np.testing.assert_array_equal(packed.pixels, plain.pixels)


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [("pillow_heif", "a.heic", "pip install pillow-heif"),
     ("pillow_jxl", "a.jxl", "pip install pillow-jxl-plugin")],
)  # fmt: skip
def test_what_reads_heic_and_jpeg_xl_is_named_where_it_is_missing(
    tmp_path, monkeypatch, module, name, words
):
    start = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" if name == "a.heic" else b"\xff\x0a\x7f\0\0"
    monkeypatch.setitem(sys.modules, module, None)
    refused(tmp_path, start + bytes(64), words, name)


def test_no_plug_in_is_loaded_for_other_files(tmp_path):
    (tmp_path / "a.png").write_bytes(png(drawn(3, 8), "rgb", 8))
    script = (
        "import sys; from rdonet_jax.imaging import reader; reader.load(sys.argv[1]); "
        "sys.exit(bool({'pillow_heif', 'pillow_jxl', 'tifffile', 'imagecodecs', 'jax'} "
        "& set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path / "a.png"]).returncode == 0


# What is not read is named


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\x92RDO\x02", "is a compressed file already"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"8BPS\0\x01", "is a Photoshop document"),
        (b"v/1\x01", "is OpenEXR"),
        (b"Pf\n4 4\n-1.0\n", "holds floating-point numbers"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "is SVG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "is a film"),
        (b"a text that is none of it", "is damaged or no image"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_named(tmp_path, start, reason):
    refused(tmp_path, start + bytes(99 * bool(start)), reason)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "avif"])
def test_the_first_frame_of_an_animation_is_read_on_request(tmp_path, suffix):
    options = {"quality": 100} if suffix == "avif" else {"lossless": True}
    path = tmp_path / f"film.{suffix}"
    write_animation(path, **options)
    image = reader.load(path, first_frame=True)
    assert image.pixels.max() <= 1 and image.size == (8, 8)
    assert len(image.notes) == 1 and image.notes[0].startswith("the first of 3 ")


def test_the_first_page_of_16_bits_is_read_by_either_library(tmp_path):
    for channels, number in ((3, 0), (2, 1)):
        pages = [drawn(channels, 16, seed=seed) for seed in range(3)]
        path = tmp_path / f"{number}.tif"
        with tifffile.TiffWriter(path) as file:
            for page in pages:
                file.write(page, metadata=None, planarconfig="contig",
                           photometric="rgb" if channels == 3 else "minisblack",
                           extrasamples=["unassalpha"] if channels == 2 else None)  # fmt: skip
        image = reader.load(path, first_frame=True)
        found = image.pixels if channels == 3 else np.dstack([image.pixels, image.alpha])
        np.testing.assert_array_equal(found, pages[0])


# Small files that claim much

CLAIMING = """
import json, resource, sys
from PIL import Image
from rdonet_jax.imaging import errors, reader
Image.init()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {}
for path in sys.argv[1:]:
    before = peak()
    try:
        reader.load(path)
        cause = "read"
    except errors.ImageError as error:
        cause = str(error)
    found[path] = cause, peak() - before
print(json.dumps(found))
"""


def claims(side=11584):
    """Files of some hundred bytes that claim 134 megapixels, by name."""
    signature, nothing = b"\x89PNG\r\n\x1a\n", zlib.compress(bytes(60))
    for depth, interlaced in ((8, 0), (16, 0), (16, 1)):
        start = struct.pack(">IIBBBBB", side, side, depth, 2, 0, 0, interlaced)
        parts = chunk(b"IHDR", start), chunk(b"IDAT", nothing), chunk(b"IEND", b"")
        yield f"{depth}-{interlaced}.png", signature + b"".join(parts)
    for magic, largest in ((3, 255), (5, 65535), (6, 255), (6, 65535)):
        yield f"{magic}-{largest}.ppm", b"P%d %d %d %d 1234" % (magic, side, side, largest)
    yield (
        "a.pam",
        (b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n1" % (side, side)),
    )
    yield "a.bmp", bmp([b"1234"], side, side, 24)
    for kind in (2, 10):
        yield (
            f"{kind}.tga",
            struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, side, side, 24, 0) + bytes(9),
        )
    yield "a.qoi", b"qoif" + struct.pack(">IIBB", side, side, 3, 0) + b"\xfe123"
    for name, options in (("a", {}), ("p", {"progressive": True})):
        small = bytearray(saved(Image.fromarray(SMOOTH), "JPEG", **options))
        at = small.index(b"\xff\xc2" if options else b"\xff\xc0")
        small[at + 5 : at + 9] = struct.pack(">HH", side, side)
        yield f"{name}.jpg", bytes(small)
    for compression in (None, "lzw", "zlib", "packbits"):
        for depth in (8, 16):
            small = bytearray(tiff(drawn(1, depth)[..., 0].astype(f"u{depth // 8}"),
                                   compression=compression))  # fmt: skip
            with tifffile.TiffFile(io.BytesIO(bytes(small))) as file:
                for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                    at = file.pages[0].tags[tag].valueoffset
                    small[at : at + 4] = struct.pack("<I", side)
            yield f"{compression}-{depth}.tif", bytes(small)


def test_small_files_that_claim_many_pixels_take_little_memory(tmp_path):
    paths = []
    for name, data in claims():
        assert len(data) < 2000
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    # Without this, the C library keeps what was freed, and writes zeros where it was.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    call = [sys.executable, "-W", "ignore", "-c", CLAIMING, *paths]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(paths)
    for path, (cause, kilobytes) in found.items():
        assert "damaged" in cause, path
        assert kilobytes < 30_000, path


# Damage


def samples_of_new_kinds():
    """Files that Pillow alone does not read, by name."""
    yield "a.tif", tiff(drawn(2, 16), planarconfig="contig", compression="zlib")
    yield "b.tif", tiff(drawn(3, 12), bitspersample=12)
    yield "a.jpg", imagecodecs.jpeg8_encode(drawn(3, 12), level=90, bitspersample=12)
    yield "a.jxl", imagecodecs.jpegxl_encode(drawn(3, 16), lossless=True)
    head = b"P7\nWIDTH 13\nHEIGHT 11\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    yield "a.pam", head + drawn(3, 8).astype(np.uint8).tobytes()


@settings(max_examples=120, deadline=None)
@given(
    file=st.sampled_from(list(samples_of_new_kinds())),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    length=st.floats(0.1, 1),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_of_new_kinds_give_a_image_or_an_image_error(
    tmp_path_factory, file, damage, length
):
    name, data = file[0], bytearray(file[1])
    for place, value in damage:
        data[int(place * place * (len(data) - 1))] = value  # most of them in the header
    path = tmp_path_factory.mktemp("damage") / name
    path.write_bytes(data[: max(1, round(length * len(data)))])
    try:
        image = reader.load(path, max_pixels=2**20)
    except ImageError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert image.pixels.size


def test_signed_numbers_are_refused_for_training_too(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.int8), photometric="minisblack")
    with pytest.raises(ImageError, match="holds signed numbers"):
        srgb.load(tmp_path / "a.tif")
