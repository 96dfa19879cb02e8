"""BMP, TGA, WebP and Netpbm files, made here: what is read equals how they were made."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.imaging import reader
from tests.image_samples import (
    SMOOTH,
    assert_same,
    bmp,
    drawn,
    load,
    saved,
)
from tests.imaging.formats.conftest import refused

pytestmark = pytest.mark.once


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_bmp_with_a_palette_is_read_exactly(tmp_path, bits):
    index = drawn(1, bits)[..., 0].astype(np.uint8)
    palette = np.random.default_rng(3).integers(0, 256, (2**bits, 4), np.uint8)
    unpacked = np.unpackbits(index[..., None], axis=2)[..., 8 - bits :].reshape(len(index), -1)
    lines = [row.tobytes() for row in np.packbits(unpacked, axis=1)]
    data = bmp(lines, 13, 11, bits, palette.tobytes())
    assert_same(load(tmp_path, data, "a.bmp"), palette[index][..., 2::-1])


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_bmp_of_true_color_is_read_to_the_bits_that_it_has(tmp_path, bits):
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
def test_a_tga_of_every_mode_is_read_exactly(tmp_path, mode, compression):
    source = Image.fromarray(drawn(4, 8).astype(np.uint8)).convert(mode)
    image = load(tmp_path, saved(source, "TGA", compression=compression), "a.tga")
    # The palette of an image with alpha has alpha too.
    whole = np.array(source.convert({"P": "RGBA"}.get(mode, mode)))
    alpha = whole[..., -1] if mode in ("LA", "P", "RGBA") else None
    colors = {"L": whole, "LA": whole[..., 0]}.get(mode, whole[..., :3])
    assert_same(image, colors, alpha)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_is_read_with_its_alpha_and_exactly_if_it_is_lossless(tmp_path, mode, lossless):
    whole = np.dstack([SMOOTH, SMOOTH[..., 0]])[..., : len(mode)]
    data = saved(Image.fromarray(whole), "WEBP", lossless=lossless, quality=95, exact=True)
    image = load(tmp_path, data, "a.webp")
    difference = np.abs(image.pixels.astype(int) - SMOOTH).max()
    assert difference == 0 if lossless else difference < 24
    assert (image.alpha is None) == (mode == "RGB")


@pytest.mark.parametrize("magic", [1, 2, 3, 4, 5, 6])
def test_every_kind_of_netpbm_is_read_exactly(tmp_path, magic):
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
def test_every_kind_of_pam_is_read_and_a_broken_one_is_refused(tmp_path, kind, channels, largest):
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


def test_a_profile_that_is_not_read_is_named(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.bmp")
    plain = (tmp_path / "a.bmp").read_bytes()
    fields = plain[18:54].ljust(120, b"\0")
    fields = fields[:52] + b"DEBM" + fields[56:]
    offset = struct.pack("<I", 14 + 124)
    data = plain[:10] + offset + struct.pack("<I", 124) + fields + plain[54:]
    (tmp_path / "profile.bmp").write_bytes(data)
    assert reader.load(tmp_path / "a.bmp").notes == ()
    assert reader.load(tmp_path / "profile.bmp").notes == ("without its color profile",)
    Image.new("L", (4, 4)).save(tmp_path / "a.gif")
    plain = (tmp_path / "a.gif").read_bytes()
    at = plain.index(b"\x2c", 13 + 3 * 2 ** (1 + (plain[10] & 7)))
    block = b"\x21\xff\x0bICCRGBG1012\x03icc\0"
    (tmp_path / "profile.gif").write_bytes(plain[:at] + block + plain[at:])
    assert reader.load(tmp_path / "a.gif").notes == ()
    assert reader.load(tmp_path / "profile.gif").notes == ("without its color profile",)
