"""Small files that claim many pixels, and damaged ones."""

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

from rdonet_jax.imaging import reader
from rdonet_jax.imaging.errors import ImageError
from tests.image_samples import (
    SMOOTH,
    bmp,
    chunk,
    drawn,
    saved,
    tiff,
)

pytestmark = pytest.mark.once


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


def tiff_claims(side=11584):
    """The same of TIFF."""
    for compression in (None, "lzw", "zlib", "packbits"):
        for depth in (8, 16):
            small = bytearray(tiff(drawn(1, depth)[..., 0].astype(f"u{depth // 8}"),
                                   compression=compression))  # fmt: skip
            with tifffile.TiffFile(io.BytesIO(bytes(small))) as file:
                for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                    at = file.pages[0].tags[tag].valueoffset
                    small[at : at + 4] = struct.pack("<I", side)
            yield f"{compression}-{depth}.tif", bytes(small)


def assert_little_memory(tmp_path, files):
    paths = []
    for name, data in files:
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


def test_small_files_that_claim_many_pixels_take_little_memory(tmp_path):
    assert_little_memory(tmp_path, claims())


@pytest.mark.usefixtures("imagecodecs")
def test_small_tiff_files_that_claim_many_pixels_take_little_memory(tmp_path):
    assert_little_memory(tmp_path, tiff_claims())


# Damage


@pytest.fixture(scope="module")
def samples_of_new_kinds(imagecodecs):
    """Files that Pillow alone does not read, by name."""
    head = b"P7\nWIDTH 13\nHEIGHT 11\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    return {
        "a.tif": tiff(drawn(2, 16), planarconfig="contig", compression="zlib"),
        "b.tif": tiff(drawn(3, 12), bitspersample=12),
        "a.jpg": imagecodecs.jpeg8_encode(drawn(3, 12), level=90, bitspersample=12),
        "a.jxl": imagecodecs.jpegxl_encode(drawn(3, 16), lossless=True),
        "a.pam": head + drawn(3, 8).astype(np.uint8).tobytes(),
    }


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(["a.tif", "b.tif", "a.jpg", "a.jxl", "a.pam"]),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    length=st.floats(0.1, 1),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_of_new_kinds_give_an_image_or_an_image_error(
    tmp_path_factory, samples_of_new_kinds, name, damage, length
):
    data = bytearray(samples_of_new_kinds[name])
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
