"""Images as they come, through the command line: what travels, and what is said."""

from __future__ import annotations

import itertools
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from rdonet_jax.cli.files import jobs
from rdonet_jax.imaging import pixel_format, reader, writer
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import SRGB, SWAPPED, exif_block


@pytest.fixture(autouse=True)
def portable_bundle(bundle, mini_weights):
    """The model that codes well enough for its images to be compared."""
    bundle["standard"] = mini_weights


def form(image, gray=False, is_16bit=False, alpha=False, **more) -> ImageData:
    pixels = np.ascontiguousarray(image[..., 1] if gray else image)
    ramp = np.tile(np.arange(90) * 255 // 89, (100, 1)).astype(np.uint8)
    if is_16bit:
        pixels, ramp = pixel_format.to_uint16(pixels), pixel_format.to_uint16(ramp)
    return ImageData(pixels, ramp if alpha else None, **more)


def restored(rdonet, image, suffix, *options, source=".png"):
    """What both commands make of an image, and what the second says."""
    writer.save(f"in{source}", image, force=True)
    assert rdonet("compress", f"in{source}", "c.rdo", "--force").code == 0
    done = rdonet("decompress", "c.rdo", f"out{suffix}", "--force", *options)
    assert (done.code, done.err) == (0, "")
    return reader.load(f"out{suffix}"), done.out


@pytest.mark.parametrize(
    ("gray", "is_16bit", "alpha"), list(itertools.product((False, True), repeat=3))
)
@pytest.mark.parametrize("metadata", [False, True])
def test_what_comes_in_as_png_goes_out_as_png(rdonet, image, gray, is_16bit, alpha, metadata):
    more = {"icc": SRGB, "exif": exif_block(1)} if metadata else {}
    content = form(image, gray, is_16bit, alpha, **more)
    again, out = restored(rdonet, content, ".png")
    assert re.fullmatch(r"out\.png: 90x100 pixels, \d+\.\d s\n", out)
    assert again.pixels.dtype == content.pixels.dtype
    assert again.pixels.shape == content.pixels.shape
    assert (again.icc, again.exif) == (content.icc, content.exif)
    assert (again.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_array_equal(again.alpha, content.alpha)


@pytest.mark.parametrize(
    ("suffix", "is_16bit", "said"),
    [
        (".tif", True, ""), (".ppm", True, "without its color profile, which PPM cannot hold, "),
        (".webp", False, "8 bits, since WEBP is written with no more, "),
        (".avif", False, "8 bits, since AVIF is written with no more, "),
        (".jpg", False, "8 bits, since JPEG is written with no more, "),
        (".bmp", False, "8 bits, since BMP is written with no more, without its color profile, "
         "which BMP cannot hold, "),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_said_in_the_line(rdonet, image, suffix, is_16bit, said):
    again, out = restored(rdonet, form(image, is_16bit=True, icc=SRGB), suffix, source=".tif")
    assert again.is_16bit == is_16bit
    assert re.fullmatch(re.escape(f"out{suffix}: 90x100 pixels, {said}") + r"\d+\.\d s\n", out)


def test_transparency_is_refused_by_jpeg_unless_there_is_a_background(rdonet, refusal, image):
    writer.save("in.png", form(image, alpha=True))
    assert rdonet("compress", "in.png").code == 0
    cause = refusal("out.jpg", "decompress", "in.png.rdo", "out.jpg")
    assert "JPEG cannot hold the image's transparency" in cause and "--background" in cause
    assert rdonet("decompress", "in.png.rdo", "out.jpg", "--background", "#ff8000").code == 0
    flat = reader.load("out.jpg")
    assert flat.alpha is None
    assert np.abs(flat.pixels[:, 0].astype(int) - (255, 128, 0)).mean() < 12


@pytest.mark.parametrize("color", ["no", "#12", "", "#ffffff80", "rgba(1,2,3,4)"])
def test_a_background_that_is_no_opaque_color_is_wrong_usage(rdonet, color):
    code, _, err = rdonet("decompress", "b.rdo", "--background", color)
    assert code == 2 and "no opaque color" in err


def test_stripped_files_hold_srgb_and_nothing_else(rdonet, image):
    writer.save("in.png", ImageData(image, icc=SWAPPED, exif=exif_block()))
    assert rdonet("compress", "in.png", "kept.rdo").code == 0
    assert rdonet("compress", "in.png", "bare.rdo", "--strip").code == 0
    assert "format version 2" in rdonet("info", "bare.rdo").out
    for name, expected in {"kept": image, "bare": image[..., ::-1]}.items():
        assert rdonet("decompress", f"{name}.rdo", f"{name}.png").code == 0
        again = reader.load(f"{name}.png")
        assert (again.icc, again.exif) == (
            (SWAPPED, exif_block()) if name == "kept" else (b"", b"")
        )
        errors = [
            np.abs(again.pixels.astype(int) - e).mean() for e in (expected, expected[..., ::-1])
        ]
        assert errors[0] < errors[1]


def test_a_sideways_photograph_comes_out_upright(rdonet, image):
    stored = Image.fromarray(np.ascontiguousarray(image.swapaxes(0, 1)[::-1]))
    stored.save("in.jpg", quality=95, exif=b"Exif\0\0" + exif_block(6))
    assert rdonet("compress", "in.jpg", "c.rdo").code == 0
    assert rdonet("decompress", "c.rdo", "out.jpg").code == 0
    again = reader.load("out.jpg")
    assert again.exif == exif_block(1)
    with Image.open("out.jpg") as out:
        assert out.getexif()[ExifTags.Base.Orientation] == 1
    assert np.abs(again.pixels.astype(int) - image).mean() < 15


MORE = {"xmp": b"<x:xmpmeta/>", "cicp": Cicp(9, 16), "resolution": Resolution(11811, 11811, True)}


def test_xmp_code_points_and_resolution_travel_and_are_told_of(rdonet, image):
    again, out = restored(rdonet, form(image, is_16bit=True, **MORE), ".png")
    assert re.fullmatch(r"out\.png: 90x100 pixels, \d+\.\d s\n", out)
    assert {name: getattr(again, name) for name in MORE} == MORE
    lines = rdonet("info", "c.rdo").out.splitlines()
    assert lines[1].startswith("format version 4, ")
    assert lines[2] == "RGB of 16 bits, 12 bytes of XMP, BT.2020 with PQ, 300 dpi"
    assert [line.split()[0] for line in lines[-3:]] == ["xmp", "cicp", "resolution"]
    assert json.loads(rdonet("info", "--json", "c.rdo").out)["sections"]["cicp"] == 4


def test_stripped_files_have_none_of_it(rdonet, image):
    more = {**MORE, "cicp": None}
    writer.save("in.png", form(image, **more))
    assert rdonet("compress", "in.png", "bare.rdo", "--strip").code == 0
    assert "format version 2" in rdonet("info", "bare.rdo").out


def phone(path):
    """A photograph with a second image behind it."""
    Image.new("RGB", (90, 100), "gray").save(
        path, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )


def test_what_compression_leaves_behind_is_said(rdonet):
    phone("phone.jpg")
    note = "without its 1 further image (a gain map, a preview or another view)"
    assert f", {note}, " in rdonet("compress", "phone.jpg").out
    facts = json.loads(rdonet("compress", "--json", "--force", "phone.jpg").out)
    assert facts["notes"] == [note]
    done = rdonet("compress", "phone.jpg", "--out-dir", "many")
    assert done.out.splitlines()[0] == f"{Path('many/phone.jpg.rdo')}: {note}"
    assert rdonet("compress", "phone.jpg", "--out-dir", "quiet", "--quiet").out == ""


@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("order", "<>")
def test_a_photograph_on_its_side_is_turned_once_whatever_type_says_so(rdonet, kind, order):
    number = struct.pack(order + kind, 6).ljust(4, b"\0")
    data = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, 1)
    data += struct.pack(order + "HHI", 274, {"H": 3, "I": 4}[kind], 1) + number + bytes(4)
    Image.new("RGB", (100, 90), "gray").save("in.jpg", exif=b"Exif\0\0" + data)
    assert rdonet("compress", "in.jpg", "c.rdo").code == 0
    assert rdonet("decompress", "c.rdo", "out.jpg").code == 0
    with Image.open("out.jpg") as out:
        assert out.size == (90, 100) and out.getexif()[ExifTags.Base.Orientation] == 1


def test_info_tells_of_the_form_and_of_what_goes_along(rdonet, image):
    everything = form(image, True, True, True, icc=SRGB, exif=exif_block())
    writer.save("in.png", everything)
    assert rdonet("compress", "in.png").code == 0
    lines = rdonet("info", "in.png.rdo").out.splitlines()
    assert lines[1].startswith("format version 3, ")
    assert lines[2] == (
        "gray of 16 bits, alpha, color profile sRGB built-in, "
        f"{len(exif_block())} bytes of EXIF data"
    )
    rows = {line.split()[0]: int(line.split()[1]) for line in lines[6:]}
    assert list(rows)[-3:] == ["alpha", "icc", "exif"] and all(rows[n] for n in list(rows)[-3:])
    assert sum(rows.values()) == Path("in.png.rdo").stat().st_size


def test_a_profile_without_a_printable_name_does_no_harm_to_the_terminal(rdonet, image):
    for icc in (
        b"no profile",
        SRGB.replace("built-in".encode("utf-16-be"), "\x1b[2J\n\r\0\x07x".encode("utf-16-be")),
    ):
        writer.save("in.png", ImageData(image, icc=icc), force=True)
        assert rdonet("compress", "in.png", "--force").code == 0
        assert rdonet("info", "in.png.rdo").out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("mode", "cause"),
    [("CMYK", "is CMYK"), ("F", "floating-point numbers"), ("I", "signed numbers")],
)
def test_what_is_no_gray_or_color_is_refused_in_one_line(refusal, mode, cause):
    Image.new(mode, (8, 8)).save("in.tif")
    assert cause in refusal("in.tif", "compress", "in.tif")


def test_the_first_frame_is_compressed_if_asked_for_and_the_others_are_named(
    rdonet, bundle, refusal, folder
):
    frames = [Image.new("RGB", (40, 30), color) for color in ("white", "red", "blue")]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    assert "--first-frame" in refusal("film.gif", "compress", "film.gif")
    code, out, _ = rdonet("compress", "film.gif", "--first-frame")
    assert code == 0 and "the first of 3 frames is coded, the others are left out" in out
    code, out, _ = rdonet("compress", "film.gif", "--first-frame", "--json", "--force")
    assert code == 0 and len(json.loads(out)["notes"]) == 1


def test_a_compressed_file_is_not_compressed_again(refusal):
    assert refusal("b.rdo", "compress", "b.rdo", "c.rdo") == "is a compressed file already"


def test_files_that_are_read_by_plug_ins_are_found_in_folders(tmp_path):
    for name in ("a.heic", "b.JXL", "c.pam", "d.txt"):
        (tmp_path / name).touch()
    found = jobs.compressions([str(tmp_path)], "out").jobs
    assert sorted(Path(job.source).name for job in found) == ["a.heic", "b.JXL", "c.pam"]
