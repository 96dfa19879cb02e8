"""Small valid image files of every format and form that is read, for mutations to start from."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rdonet_jax.imaging.formats import png, tiff_writer
from tests import image_samples

SIZE = (37, 53)
"""Height and width."""

CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
"""White, red, green and blue of sRGB, each as x and y, times 100,000."""


class Base(NamedTuple):
    """A valid image file."""

    suffix: str
    data: bytes


def _pixels(channels: int, depth: int) -> np.ndarray:
    """Something smooth with some noise."""
    rng = np.random.default_rng(channels)
    height, width = SIZE
    smooth = np.add.outer(3 * np.arange(height), 2 * np.arange(width))[..., None]
    values = smooth + rng.integers(0, 40, (height, width, channels))
    top = 2**depth - 1
    return (values * (top / values.max())).astype(np.uint8 if depth <= 8 else np.uint16)


def _saved(image: Image.Image, suffix: str, name: str, **options: Any) -> Base:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return Base(suffix, buffer.getvalue())


def _exif() -> Image.Exif:
    """With a directory of its own for the camera, one for the place, and a thumbnail's entries."""
    block = Image.Exif()
    block.load(b"Exif\0\0" + image_samples.exif_block(6))
    block.get_ifd(0x8825)[1] = "N"
    return block


def _along() -> dict[str, Any]:
    return {"exif": _exif(), "icc_profile": image_samples.SRGB}


def _png_files() -> list[Base]:
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>"
    before = [
        (b"gAMA", (45455).to_bytes(4, "big")),
        (b"cHRM", b"".join(n.to_bytes(4, "big") for n in CHROMATICITIES)),
        (b"cICP", bytes([9, 16, 0, 1])),
        (b"pHYs", (11811).to_bytes(4, "big") * 2 + b"\1"),
        (b"eXIf", image_samples.exif_block(3)),
        (b"iTXt", xmp),
    ]  # fmt: skip
    files = []
    for kind, channels in image_samples.CHANNELS.items():
        for depth in (8, 16):
            content = image_samples.png(
                _pixels(channels, depth), kind, depth, interlaced=depth == 8, before=before
            )
            files.append(Base(".png", content))
    profile = png.metadata(image_samples.SWAPPED, b"", b"", b"", b"")
    files += [
        Base(".png", image_samples.png(_pixels(1, 2), "gray", 2, before=[(b"tRNS", b"\0\1")])),
        Base(".png", image_samples.png(_pixels(3, 8), "rgb", 8, before=[(b"tRNS", bytes(6))])),
        _saved(_rgb().quantize(16), ".png", "PNG", transparency=bytes(range(0, 256, 16))),
        _saved(_rgb(), ".png", "PNG", **_along()),
        Base(".png", b"".join(png.encode(_pixels(3, 16), profile))),
    ]
    return files


def _rgb() -> Image.Image:
    return Image.fromarray(_pixels(3, 8))


def _tiff_files() -> list[Base]:
    files = []
    for samples in (_pixels(1, 8), _pixels(3, 8), _pixels(4, 8), _pixels(3, 16), _pixels(1, 16)):
        buffer = io.BytesIO()
        tiff_writer.write(
            buffer, samples, image_samples.SRGB, image_samples.exif_block(), b"<x:xmpmeta/>", None
        )
        files.append(Base(".tif", buffer.getvalue()))
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"):
        files.append(_saved(_rgb(), ".tif", "TIFF", compression=compression, dpi=(300, 300)))
    files += [
        _saved(_rgb().quantize(16), ".tif", "TIFF"),
        _saved(_rgb().convert("1"), ".tif", "TIFF", compression="group4"),
        _saved(Image.fromarray(_pixels(4, 8)), ".tif", "TIFF", big_tiff=True),
        _saved(_rgb(), ".tif", "TIFF", save_all=True, append_images=[_rgb().resize((9, 9))]),
    ]
    try:
        import tifffile
    except ImportError:
        return files
    for options in ({"planarconfig": "separate"}, {"tile": (16, 16)}, {"byteorder": ">"}):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, _planes(options), photometric="rgb", **options)
        files.append(Base(".tif", buffer.getvalue()))
    return files


def _planes(options: dict[str, Any]) -> np.ndarray:
    samples = _pixels(3, 16)
    return np.moveaxis(samples, 2, 0) if "planarconfig" in options else samples


def _other_files() -> list[Base]:
    rgb, rgba, gray = _rgb(), Image.fromarray(_pixels(4, 8)), _rgb().convert("L")
    files = [
        _saved(rgb, ".jpg", "JPEG", quality=90, **_along(), xmp=b"<x:xmpmeta/>", dpi=(300, 300)),
        _saved(rgb, ".jpg", "JPEG", progressive=True, comment=b"comment"),
        _saved(gray, ".jpg", "JPEG", restart_marker_rows=1),
        _saved(rgba, ".webp", "WEBP", lossless=True, **_along(), xmp=b"<x:xmpmeta/>"),
        _saved(rgb, ".webp", "WEBP", quality=60),
        _saved(rgba, ".avif", "AVIF", **_along(), xmp=b"<x:xmpmeta/>"),
        _saved(rgb, ".bmp", "BMP", dpi=(300, 300)),
        _saved(rgb.quantize(16), ".bmp", "BMP"),
        _saved(rgb.quantize(16), ".gif", "GIF", transparency=3),
        _saved(rgba, ".tga", "TGA", compression="tga_rle"),
        _saved(rgb, ".jp2", "JPEG2000"),
        _saved(rgb, ".ppm", "PPM"),
        _saved(Image.fromarray(_pixels(1, 16)[..., 0]), ".pgm", "PPM"),
        Base(".pam", _pam(_pixels(4, 8))),
    ]
    return [*files, *_jpeg_2000(), *_by_plug_ins(rgb, rgba)]


def _jpeg_2000() -> list[Base]:
    """JPEG 2000 of several depths, where what writes them is installed."""
    try:
        import imagecodecs
    except ImportError:
        return []
    return [
        Base(
            ".jp2",
            imagecodecs.jpeg2k_encode(
                _pixels(channels, bits).squeeze(), level=0, codecformat="jp2", mct=False,
                bitspersample=bits, reversible=True,
            ),
        )
        for channels, bits in ((1, 1), (3, 4), (3, 12), (4, 16))
    ]  # fmt: skip


def _pam(samples: np.ndarray) -> bytes:
    height, width, depth = samples.shape
    header = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\n"
    return header.encode() + b"ENDHDR\n" + samples.tobytes()


def _by_plug_ins(rgb: Image.Image, rgba: Image.Image) -> list[Base]:
    """HEIC and JPEG XL, where what writes them is installed."""
    files = []
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        files.append(_saved(rgba, ".heic", "HEIF", quality=60, **_along()))
    except ImportError:
        pass
    try:
        import pillow_jxl  # noqa: F401 - registers itself

        files.append(_saved(rgb, ".jxl", "JXL", exif=_exif().tobytes()))
        files.append(_saved(rgba, ".jxl", "JXL", lossless=True))
    except ImportError:
        pass
    return files


def all_bases() -> list[Base]:
    """Files of all formats that this installation reads."""
    return [*_png_files(), *_tiff_files(), *_other_files()]
