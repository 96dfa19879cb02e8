"""Thumbnails of compressed files, and what they may replace."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rdonet_jax.cli.commands import thumbnails
from rdonet_jax.imaging.pixel_format import ImageData


def test_thumbnails_keep_alpha_and_are_never_larger_than_the_image():
    pixels = np.full((30, 60), 40000, np.uint16)
    alpha = np.full((30, 60), 65535, np.uint16)
    alpha[:, :30] = 0
    small = thumbnails.reduced(ImageData(pixels, alpha), 20)
    assert (small.mode, small.size) == ("RGBA", (20, 10))
    assert small.getpixel((19, 5)) == (156, 156, 156, 255)
    assert small.getpixel((0, 5))[3] == 0
    assert thumbnails.reduced(ImageData(pixels), 500).size == (60, 30)


@pytest.fixture
def own(bundle, mini_weights, rdonet):
    """Two compressed files of a model that NumPy computes."""
    bundle["standard"] = mini_weights
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    shutil.copy("c.rdo", "d.rdo")


def test_a_thumbnail_replaces_no_compressed_file(refusal, own):
    assert "is the input" in refusal("c.rdo", "thumbnail", "c.rdo", "c.rdo")
    for more in ([], ["--force"]):
        cause = refusal("d.rdo", "thumbnail", "c.rdo", "d.rdo", *more)
        assert cause == "is a compressed file, and not overwritten"


def test_a_thumbnail_replaces_an_image_with_force_alone(refusal, rdonet, own):
    for name in ("a.png", "other.jpg"):
        Image.new("RGB", (8, 8)).save("other.jpg")
        assert "is no thumbnail" in refusal(name, "thumbnail", "c.rdo", name)
        assert rdonet("thumbnail", "c.rdo", name, "--force", "--size", "30") == (0, "", "")
        assert Image.open(name).size == (27, 30)


def test_a_thumbnail_replaces_an_empty_file_and_earlier_thumbnails(rdonet, own):
    Path("made").touch()
    cached = PngImagePlugin.PngInfo()
    cached.add_text("Thumb::URI", "file:///c.rdo")
    Image.new("RGB", (8, 8)).save("cached.png", pnginfo=cached)
    for name in ("made", "made", "cached.png"):
        assert rdonet("thumbnail", "c.rdo", name, "--size", "30") == (0, "", "")
        assert Image.open(name).size == (27, 30)


def test_a_file_that_is_none_has_no_thumbnail(refusal, folder):
    assert "no RDONet file" in refusal("a.png", "thumbnail", "a.png", "made.png")
