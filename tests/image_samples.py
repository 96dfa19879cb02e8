"""Image files of every kind and what is in them; PNG written from its specification."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from rdonet_jax.imaging import reader

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
"""A profile whose red is blue."""

CHANNELS = {"gray": 1, "rgb": 3, "gray-alpha": 2, "rgb-alpha": 4}

COLOR_TYPES = {"gray": 0, "rgb": 2, "palette": 3, "gray-alpha": 4, "rgb-alpha": 6}
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""First row and column of each pass, and their steps."""


SMOOTH = np.stack(
    [
        *np.meshgrid(np.linspace(20, 230, 40), np.linspace(30, 200, 24)),
        np.full((24, 40), 99.0),
    ],
    axis=2,
).astype(np.uint8)
"""Pixels that lossy formats keep well."""


def write_animation(path: Path, **options: object) -> None:
    """Writes three frames, black, gray and light gray; `options` are those of Pillow."""
    frames = [Image.new("L", (8, 8), gray).convert("RGB") for gray in (0, 99, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(
    samples: np.ndarray,
    kind: str,
    depth: int,
    *,
    interlaced: bool = False,
    before: list[tuple[bytes, bytes]] = (),
) -> bytes:
    """A file of integer samples [H, W, channels], with chunks between header and pixels.

    Rows are filtered by Up where samples have whole bytes, so that decoders have work to do.
    """
    height, width = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b"".join(_rows(samples[r::dr, c::dc], depth) for r, c, dr, dc in passes)
    header = struct.pack(">IIBBBBB", width, height, depth, COLOR_TYPES[kind], 0, 0, int(interlaced))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(*each) for each in before),
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        )
    )


def _rows(samples: np.ndarray, depth: int) -> bytes:
    if not samples.size:
        return b""
    lines = np.ascontiguousarray(samples).reshape(len(samples), -1)
    if depth == 16:
        packed = lines.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(lines.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(len(lines), -1), axis=1)
    above = np.concatenate([np.zeros_like(packed[:1]), packed[:-1]])
    return np.insert(packed - above, 0, 2, axis=1).tobytes()


def drawn(channels, depth, height=11, width=13, seed=0):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 2**depth, shape, dtype=np.uint16)


def load(tmp_path, data, name="a.png", **options):
    (tmp_path / name).write_bytes(data)
    return reader.load(tmp_path / name, **options)


def assert_same(image, pixels, alpha=None):
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.alpha is None) == (alpha is None)
    if alpha is not None:
        assert image.alpha.dtype == alpha.dtype
        np.testing.assert_array_equal(image.alpha, alpha)


def expected_of(samples, depth):
    """Pixels and alpha of PNG samples, by the specification."""
    wide = (samples.astype(np.uint32) * (255 if depth <= 8 else 65535)) // (2**depth - 1)
    wide = wide.astype(np.uint8 if depth <= 8 else np.uint16)
    count = samples.shape[2]
    pixels = wide[..., 0] if count < 3 else wide[..., :3]
    return pixels, wide[..., -1] if count in (2, 4) else None


def exif_block(orientation=None):
    block = Image.Exif()
    block[ExifTags.Base.Make] = "A maker"
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = IFDRational(1, 50)
    if orientation:
        block[ExifTags.Base.Orientation] = orientation
    return block.tobytes().removeprefix(b"Exif\0\0")


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def bmp(lines, width, height, bits, palette=b"", masks=b""):
    """By hand, its rows from the bottom up, each filled up to 4 bytes."""
    rows = b"".join(line + bytes(-len(line) % 4) for line in reversed(lines))
    start = 54 + len(masks) + len(palette)
    kind = 3 if masks else 0
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(rows), 0, 0, 0, 0)
    file = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return file + info + masks + palette + rows


def tiff(samples, **options):
    import tifffile

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
