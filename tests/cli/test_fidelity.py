"""What `compress` says about how well an image came out."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from rdonet_jax.cli.commands import fidelity
from rdonet_jax.codec import codec
from rdonet_jax.imaging import pixel_format, reader, srgb, writer
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.metrics.quality import QualityMetric
from rdonet_jax.rdo.targets import TARGET_METRICS

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def portable_bundle(bundle, mini_weights):
    bundle["standard"] = mini_weights


def unreachable(*_, **__):
    raise AssertionError("nothing should have been decoded")


@pytest.fixture
def with_alpha(folder, image):
    alpha = np.tile(np.arange(90) * 255 // 89, (100, 1)).astype(np.uint8)
    writer.save("alpha.png", ImageData(image, np.where(alpha > 40, alpha, 0).astype(np.uint8)))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["a.png", "alpha.png"])
def test_verbose_gives_the_psnr_of_what_the_decoder_gives_without_decoding(
    rdonet, with_alpha, monkeypatch, source
):
    with monkeypatch.context() as patch:
        patch.setattr(codec, "decode", unreachable)
        out = rdonet("compress", source, "c.rdo", "-v").out
    said = float(re.search(r" bpp, (\d+\.\d\d) dB, levels", out)[1])
    assert rdonet("decompress", "c.rdo", "d.png").code == 0
    seen = pixel_format.fill_hidden(reader.load(source)).pixels.astype(float)
    error = np.mean((seen - reader.load("d.png").pixels) ** 2)
    assert said == pytest.approx(10 * math.log10(255**2 / error), abs=0.006)


def test_the_psnr_is_measured_at_high_qualities_and_where_it_is_asked_for(rdonet, monkeypatch):
    facts = json.loads(rdonet("compress", "a.png", "c.rdo", "--quality", "89", "--json").out)
    assert "psnr" not in facts
    facts = json.loads(rdonet("compress", "a.png", "d.rdo", "--quality", "90", "--json").out)
    assert facts["psnr"] > 10
    assert "dB" not in rdonet("compress", "a.png", "e.rdo").out
    wanted = facts["psnr"] - 1
    facts = json.loads(rdonet("compress", "a.png", "f", "--target-psnr", wanted, "--json").out)
    assert facts["psnr"] >= wanted


@pytest.mark.slow
def test_the_line_of_a_file_for_another_metric_has_its_value_and_quality(rdonet, monkeypatch):
    metric = QualityMetric(
        "error", "Error", lambda original, decoded: original.std() / 10, higher_is_better=False
    )
    target = TARGET_METRICS["butteraugli"]._replace(metric=metric)
    monkeypatch.setitem(TARGET_METRICS, "butteraugli", target)
    options = ("--target-butteraugli", "9")
    out = rdonet("compress", "a.png", *options).out
    said = re.search(r" bpp, quality ([\d.]+), Error \d+\.\d{3}, levels", out)
    facts = json.loads(rdonet("compress", "a.png", "--json", "--force", *options).out)
    assert 0 < facts["butteraugli"] <= 9
    assert float(said[1]) == pytest.approx(facts["quality"], abs=0.006)


def test_a_metric_that_is_not_installed_is_one_sentence(rdonet, monkeypatch):
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    code, out, err = rdonet("compress", "a.png", "--target-ssimulacra2", "80")
    assert (code, out) == (1, "")
    assert err == (
        "rdonet: a.png: SSIMULACRA2: needs the package ssimulacra2: pip install "
        "'rdonet-jax[metrics]' brings it\n"
    )


def test_a_file_found_for_a_size_has_its_psnr_too(rdonet):
    out = rdonet("compress", "a.png", "c.rdo", "--target-size", "1100", "-v").out
    assert re.search(r" bpp, quality [\d.]+, \d+\.\d\d dB, levels", out)


def test_the_line_of_a_file_for_a_psnr_has_what_it_reached_and_the_quality_to_get_it_again(rdonet):
    out = rdonet("compress", "a.png", "c.rdo", "--target-psnr", "20").out
    quality, reached = re.search(r" bpp, quality ([\d.]+), ([\d.]+) dB, levels", out).groups()
    assert float(reached) >= 20
    assert rdonet("compress", "a.png", "d.rdo", "--quality", quality).code == 0
    assert Path("d.rdo").read_bytes() == Path("c.rdo").read_bytes()


def test_a_poor_image_of_high_quality_is_warned_of(rdonet):
    noise = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    srgb.save("noise.png", noise)
    code, _, err = rdonet("compress", "noise.png", "--quality", "95")
    assert code == 0
    assert re.fullmatch(
        r"rdonet: warning: noise\.png\.rdo: has \d+\.\d\d dB only, at quality 95: .*\n", err
    )
    assert rdonet("compress", "noise.png", "--quality", "89", "--force").err == ""
    assert rdonet("compress", "noise.png", "--quality", "95", "--force", "--quiet").err == ""


@pytest.mark.parametrize("many", [False, True])
def test_a_result_larger_than_its_source_is_warned_of(rdonet, many):
    checks = np.indices((90, 100)).sum(axis=0) // 4 % 2 * 255
    srgb.save("checks.png", np.repeat(checks.astype(np.uint8)[..., None], 3, axis=2))
    source = Path("checks.png").stat().st_size
    where = ["--out-dir", "."] if many else []
    small = rdonet("compress", "checks.png", "--json", *where)
    size = Path("checks.png.rdo").stat().st_size
    facts = json.loads(small.out.splitlines()[0])
    words = f"is larger than its source: {size} bytes, and that has {source}"
    assert facts["warnings"] == [words]
    assert small.err == f"rdonet: warning: {'./' * many}checks.png.rdo: {words}\n"


@pytest.mark.parametrize(
    "case, count",
    [
        ((100, 100, 50.0, None), 0),
        ((101, 100, 50.0, None), 1),
        ((101, None, 50.0, None), 0),
        ((9, 100, 90.0, 29.99), 1),
        ((9, 100, 90.0, 30.0), 0),
        ((9, 100, 89.9, 20.0), 0),
        ((9, 100, None, 20.0), 0),
        ((9, 100, 100.0, math.inf), 0),
        ((101, 100, 100.0, 8.2), 2),
    ],
)
def test_what_is_warned_of_follows_from_sizes_quality_and_psnr(case, count):
    assert len(fidelity.warnings(*case)) == count


def test_an_exact_result_has_no_number_in_json(rdonet, monkeypatch):
    monkeypatch.setattr(pixel_format, "psnr", lambda *_: math.inf)
    line = rdonet("compress", "a.png", "c.rdo", "--quality", "100", "--json").out
    assert json.loads(line)["psnr"] is None
    assert " no difference, " in rdonet("compress", "a.png", "d.rdo", "-v").out
