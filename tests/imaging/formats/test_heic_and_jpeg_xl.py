"""HEIC and JPEG XL, which Pillow reads with plug-ins."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.imaging import reader
from tests.image_samples import (
    SMOOTH,
    drawn,
    exif_block,
    load,
    png,
)
from tests.imaging.formats.conftest import refused

pytestmark = pytest.mark.once


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
def test_jpeg_xl_is_read_in_its_depth(tmp_path, bits, channels, bare, imagecodecs):
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
    exif = b"Exif\0\0" + exif_block(orientation=6)
    Image.fromarray(SMOOTH).save(tmp_path / "a.jxl", lossless=True, exif=exif)
    image = reader.load(tmp_path / "a.jxl")
    np.testing.assert_array_equal(image.pixels, SMOOTH)
    assert b"A maker" in image.exif
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=exif)
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
