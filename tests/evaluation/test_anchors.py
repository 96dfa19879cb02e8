"""Conventional codecs: whole files, rising ladders, ranges of rates, and what is not installed."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.evaluation import anchors, curves, equal_rate
from rdonet_jax.evaluation.anchors import ANCHORS, MissingAnchorError
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.measures import EvaluationError, NamedImage
from rdonet_jax.evaluation.results import Row

pytestmark = pytest.mark.once

FAST = ("jpeg", "webp", "jpeg2000")


@pytest.fixture(params=ANCHORS)
def anchor(request):
    """Every codec in turn; those that are not installed are passed over."""
    try:
        return anchors.require(request.param)
    except MissingAnchorError as error:
        pytest.skip(str(error))


def test_a_file_is_a_whole_one_that_any_reader_opens(anchor, photograph):
    coded = anchors.code(anchor, photograph, anchor.ladder[len(anchor.ladder) // 2])
    data = anchors.encode(anchor, photograph, anchor.ladder[len(anchor.ladder) // 2])
    opened = Image.open(io.BytesIO(data))
    assert (opened.format, opened.size) == (anchor.format, photograph.shape[1::-1])
    assert coded.size == len(data)
    np.testing.assert_array_equal(coded.decoded, np.asarray(opened.convert("RGB")))
    mse = np.mean((coded.decoded.astype(float) - photograph) ** 2)
    assert 22 < 10 * math.log10(255**2 / mse) < 50


def test_rate_and_quality_rise_along_a_ladder(anchor, photograph):
    image = photograph[:128, :128]
    ends = [anchors.code(anchor, image, anchor.ladder[at]) for at in (0, -1)]
    errors = [np.mean((c.decoded.astype(float) - image) ** 2) for c in ends]
    assert ends[0].size < 0.5 * ends[1].size
    assert errors[0] > 2 * errors[1]
    rungs = [anchor.range.index(setting) for setting in anchor.ladder]
    assert rungs == sorted(set(rungs))


def test_jpeg_files_have_the_chroma_and_the_tables_that_are_promised(photograph):
    data = anchors.encode(ANCHORS["jpeg"], photograph, 50)
    plain = io.BytesIO()
    Image.fromarray(photograph).save(plain, "JPEG", quality=50, subsampling="4:2:0")
    assert Image.open(io.BytesIO(data)).layer[0][1:3] == (2, 2)
    assert len(data) < plain.tell()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_a_curve_spans_the_requested_range_and_no_more(name, photograph):
    images = [NamedImage("a", photograph), NamedImage("b", photograph[:, ::-1])]
    everything = anchors.curve(name, images[:1])
    rates = [p.mean.bpp for p in everything.points]
    low, high = 1.01 * rates[2], 1.01 * rates[5]
    found = anchors.curve(name, images, (low, high))
    assert len(everything.points) == len(ANCHORS[name].ladder)
    rates = [p.mean.bpp for p in found.points]
    assert rates[0] <= low < rates[1]
    assert rates[-2] < high <= rates[-1]
    assert rates == sorted(rates)
    for point in found.points:
        assert [row.name for row in point.rows] == ["a", "b"]
        assert all(row.encoding_time > 0 and row.decoding_time > 0 for row in point.rows)


def test_a_range_beyond_the_ladder_gives_its_last_point(photograph):
    images = [NamedImage("a", photograph)]
    assert len(anchors.curve("jpeg", images, (50.0, 60.0)).points) == 1
    assert len(anchors.curve("jpeg", images, (0.0, 0.001)).points) == 1


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("size", [2500, 9000])
def test_the_setting_nearest_to_a_size_is_found(name, size, photograph):
    anchor = ANCHORS[name]
    setting, coded = anchors.at_rate(anchor, photograph, size)
    at = anchor.range.index(setting)
    distance = abs(math.log(coded.size / size))
    for other in (at - 1, at + 1):
        if 0 <= other < len(anchor.range):
            there = len(anchors.encode(anchor, photograph, anchor.range[other]))
            assert distance <= abs(math.log(there / size))
    assert distance < 0.1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(-5, 55))
def test_bisection_finds_the_last_value_below(values, limit):
    values.sort()
    found = anchors.last_below(values.__getitem__, len(values), limit)
    below = [at for at, value in enumerate(values) if value <= limit]
    assert found == (below[-1] if below and limit > 0 else 0)


def test_settings_and_software_are_recorded(anchor, photograph):
    words = anchors.kind(anchor)
    recorded = anchors.settings(anchor)
    assert "Pillow" in recorded["software"]
    assert recorded["options"] == dict(anchor.fixed)
    assert recorded["software"] in words
    assert f"{anchor.varied} varied" in words
    for key in anchor.fixed:
        assert key in words


def test_the_words_of_an_anchor_say_which_images_its_means_leave_out(photograph):
    images = [NamedImage("a", photograph), NamedImage("small", photograph[:100, :100])]
    note = "; mean over images: 2; MS-SSIM leaves out 1 of 2, short side under 161"
    found = anchors.curve("jpeg", images, (0.0, 0.001))
    assert found.description == anchors.kind(ANCHORS["jpeg"]) + note
    rows = [Row(image.name, 1.0, {}) for image in images]
    model = Curve("mini", "", (curves.point(50.0, rows),))
    at_rate = equal_rate.curve("jpeg", images, model).description
    assert "; at the file sizes of mini" in at_rate and at_rate.endswith(note)


def test_missing_codecs_are_named_and_the_others_are_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(anchors.features, "get_supported", lambda: ["jpg", "webp"])
    found, missing = anchors.available(["jpeg", "jxl", "avif", "hevc", "webp"])
    assert found == ["jpeg", "webp"]
    assert missing[0] == "jxl: needs the package pillow-jxl-plugin"
    assert missing[1].startswith("avif: this Pillow (")
    assert missing[2] == "hevc: needs the package pillow-heif"


def test_a_codec_that_refuses_an_image_is_named():
    wide = NamedImage("wide.png", np.zeros((1, 17000, 3), np.uint8))
    with pytest.raises(EvaluationError, match="^WebP refuses the image: "):
        anchors.encode(ANCHORS["webp"], wide.pixels, 50)
    named = "^wide.png: cannot be coded: WebP refuses the image: "
    with pytest.raises(EvaluationError, match=named):
        anchors.curve("webp", [wide])
    model = Curve("mini", "", (curves.point(50.0, [Row("wide.png", 1.0, {})]),))
    with pytest.raises(EvaluationError, match=named):
        equal_rate.curve("webp", [wide], model)
