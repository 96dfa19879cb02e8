"""--roi and --roi-box: what they write, what info says of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.codec import codec
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo

LOOK = ("--quality", "40", "--engine", "numpy")


@pytest.fixture
def options(mini_weights):
    return ("--model", mini_weights, *LOOK)


@pytest.fixture(autouse=True)
def wide(folder, photograph):
    """An image of 3 by 4 blocks, p.png."""
    srgb.save("p.png", photograph)


@pytest.mark.slow
def test_a_mask_and_boxes_become_the_gains_of_blocks(rdonet, options, mini_weights):
    mask = np.kron([[128, 168], [128, 88]], np.ones((3, 4))).astype(np.uint8)
    Image.fromarray(mask).save("mask.png")
    boxes = ("--roi-box", "64,64,64,64", "--roi-box", "0,0,64,64:-40")
    result = rdonet("compress", "p.png", "a.rdo", *options, "--roi", "mask.png", *boxes)
    assert result.code == 0
    model = zoo.load(str(mini_weights))
    gains = codec.decode(model, Path("a.rdo").read_bytes(), engine="numpy").gains
    assert gains.shape == (3, 4)
    assert (gains[1, 1], gains[0, 0], gains[2, 0]) == (25, -40, 0)
    assert (gains[0, 3], gains[2, 3]) == (20, -20)

    text = rdonet("info", "a.rdo").out
    assert "format version 5" in text
    assert "regions: " in text
    facts = json.loads(rdonet("info", "--json", "a.rdo").out)
    counts = {
        "worse": int(np.sum(gains < 0)),
        "as_asked": int(np.sum(gains == 0)),
        "better": int(np.sum(gains > 0)),
    }
    assert facts["regions"]["blocks"] == counts


def test_a_mask_of_128_changes_no_byte(rdonet, options):
    np.save("mask.npy", np.full((3, 4), 128))
    rdonet("compress", "p.png", "plain.rdo", *options)
    rdonet("compress", "p.png", "same.rdo", *options, "--roi", "mask.npy")
    assert Path("plain.rdo").read_bytes() == Path("same.rdo").read_bytes()
    assert json.loads(rdonet("info", "--json", "plain.rdo").out)["regions"] is None


def test_a_target_size_holds_with_regions(rdonet, mini_weights):
    box = ("--roi-box", "64,64,128,64:40")
    result = rdonet(
        "compress", "p.png", "a.rdo", "--model", mini_weights, "--target-size", "3800", *box
    )
    assert result.code == 0
    assert 3700 < Path("a.rdo").stat().st_size <= 3800


def test_many_files_share_a_mask_and_those_of_another_shape_are_named(rdonet, options):
    Image.fromarray(np.zeros((192, 256, 3), np.uint8)).save("wide.png")
    Image.fromarray(np.zeros((256, 192, 3), np.uint8)).save("tall.png")
    np.save("mask.npy", np.full((3, 4), 200))
    result = rdonet(
        "compress", "wide.png", "tall.png", "--out-dir", ".", *options, "--roi", "mask.npy"
    )
    assert result.code == 1
    assert Path("wide.png.rdo").exists() and not Path("tall.png.rdo").exists()
    assert "tall.png: mask.npy: a mask of regions has the shape of the image" in result.err


REFUSED = [
    (("--roi", "nan.npy"), "p.png", "nan.npy: a mask of regions has numbers from 0 to 255"),
    (("--roi", "thin.npy"), "p.png", "do not scale to 192 rows of 256 pixels"),
    (("--roi", "a.png"), "a.png", "must be a gray image of 8 bits, but this is RGB"),
    (("--roi", "none.png"), "none.png", "cannot be read"),
    (("--roi", "broken.npy"), "broken.npy", "is no readable .npy file"),
    (("--roi-box", "200,0,57,10"), "p.png", "is not within the image of 256x192 pixels"),
    (("--roi-box", "2,2,0,10"), "p.png", "sides of one pixel at least"),
]


@pytest.mark.parametrize(("arguments", "about", "cause"), REFUSED)
def test_what_is_no_mask_or_box_of_the_image_is_refused(refusal, options, arguments, about, cause):
    np.save("nan.npy", np.full((3, 4), np.nan))
    np.save("thin.npy", np.zeros((3, 40)))
    Path("broken.npy").write_bytes(b"no array")
    assert cause in refusal(about, "compress", "p.png", "c.rdo", *options, *arguments)


def test_a_fixed_rate_model_has_no_regions(refusal, tiny_weights):
    arguments = ("--model", tiny_weights, "--roi-box", "0,0,64,64")
    cause = refusal("p.png", "compress", "p.png", "c.rdo", *arguments)
    assert "trained for one quality: no region can have another" in cause


@pytest.mark.parametrize(
    "text", ["1,2,3", "a,b,c,d", "1,2,3,4:", "1,2,3,4:101", "-1,2,3,4", "1,2,3,4:nan"]
)
def test_a_box_that_is_misspelled_is_wrong_usage(rdonet, text):
    result = rdonet("compress", "p.png", "c.rdo", f"--roi-box={text}")
    assert result.code == 2
    assert "argument --roi-box: " in result.err
