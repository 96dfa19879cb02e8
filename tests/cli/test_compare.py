"""`rdonet compare`: numbers by other means than the command's own, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
import skimage.data

from rdonet_jax.cli.commands import comparison
from rdonet_jax.imaging import pixel_format, reader, srgb, writer
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.metrics import quality


@pytest.fixture(autouse=True)
def portable_bundle(bundle, mini_weights):
    bundle["standard"] = mini_weights


@pytest.fixture
def pair(folder):
    """Two images of 300 x 200, of which the second is 3 darker in a corner of 30 x 20."""
    first = np.ascontiguousarray(skimage.data.coffee()[50:250, 100:400])
    first = np.maximum(first, 3)
    second = first.copy()
    second[:20, :30] -= 3
    srgb.save("first.png", first)
    srgb.save("second.png", second)
    return first, second


@pytest.mark.slow
def test_two_images_are_compared_by_the_fields_definitions(rdonet, pair):
    code, out, err = rdonet("compare", "first.png", "second.png", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    psnr = 10 * math.log10(255**2 / (9 * 30 * 20 / (300 * 200)))
    assert facts["psnr"] == pytest.approx(psnr, abs=1e-6)
    assert 0.99 < facts["ms_ssim"] < 1
    assert facts["largest_difference"] == 3
    assert facts["differing_pixels"] == pytest.approx(0.01)
    size = Path("first.png").stat().st_size
    assert facts["a"] == {"input": "first.png", "bytes": size, "bpp": 8 * size / 60000}
    words = rdonet("compare", "first.png", "second.png").out.splitlines()
    assert words[0] == f"first.png: {size} bytes, {8 * size / 60000:.3f} bpp"
    assert words[2].startswith(f"300x200 pixels: PSNR {psnr:.2f} dB, MS-SSIM 0.99")
    assert words[3] == "largest difference: 3 of 255; 1.0% of the pixels differ"


def test_a_platform_that_is_not_there_is_one_line(rdonet, pair, monkeypatch):
    def fail():
        raise AssertionError

    monkeypatch.setattr(jax, "default_backend", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    sentence = "JAX_PLATFORMS=cuda: JAX finds no such platform here"
    code, out, err = rdonet("compare", "first.png", "second.png", "--json")
    assert (code, err) == (1, f"rdonet: {sentence}\n")
    assert json.loads(out)["error"] == sentence


def test_further_metrics_are_measured_on_8_bit_rgb_where_they_are_asked_for(
    rdonet, pair, monkeypatch
):
    def mean_difference(original, decoded):
        assert original.dtype == decoded.dtype == np.uint8 and original.shape[2:] == (3,)
        return None if original.shape[0] < 8 else float(np.mean(original != decoded))

    metric = quality.QualityMetric(
        "share", "Share", mean_difference, higher_is_better=False, unit="of 1",
        left_out="flat", is_default=False,
    )  # fmt: skip
    monkeypatch.setitem(quality.METRICS, "share", metric)
    words = rdonet("compare", "first.png", "second.png", "--metric", "share").out.splitlines()
    assert words[-1] == "Share 0.010 of 1 (lower is better)"
    once = ("compare", "first.png", "second.png", "--metric", "share", "--json")
    assert json.loads(rdonet(*once).out)["metrics"] == {"share": pytest.approx(0.01)}
    tiny = np.zeros((4, 9), np.uint16)
    writer.save("tiny.png", ImageData(tiny))
    assert rdonet("compare", "tiny.png", "tiny.png", "--metric", "share").out.endswith(
        "Share: no value (flat)\n"
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ssim", "there is no metric 'ssim' beside PSNR and MS-SSIM; there are ssimulacra2, "),
        ("butteraugli", "butteraugli: needs the program butteraugli_main, in Debian's package"),
    ],
)
def test_a_metric_that_is_not_there_is_refused_in_a_sentence(
    rdonet, pair, monkeypatch, name, sentence
):
    monkeypatch.setenv("PATH", "")
    code, out, err = rdonet("compare", "first.png", "second.png", "--metric", name)
    assert (code, out) == (1, "") and sentence in err and err.count("\n") == 1


def test_the_difference_is_drawn_as_large_as_fits(rdonet, pair):
    out = rdonet("compare", "first.png", "second.png", "--difference", "d.png").out
    assert out.endswith("\nd.png: the difference times 85\n")
    expected = np.zeros((200, 300, 3))
    expected[:20, :30] = 255
    np.testing.assert_array_equal(srgb.load("d.png"), expected)


def test_equal_images_have_no_difference(rdonet, pair):
    code, out, _ = rdonet("compare", "first.png", "first.png", "--difference", "d.png")
    assert code == 0
    assert "300x200 pixels: no difference\n" in out
    assert not srgb.load("d.png").any()
    facts = json.loads(rdonet("compare", "first.png", "first.png", "--json").out)
    assert facts["psnr"] is None and facts["ms_ssim"] == pytest.approx(1, abs=1e-6)


def test_a_compressed_file_is_compared_by_what_it_decodes_to(rdonet):
    said = rdonet("compress", "a.png", "c.rdo", "-v").out
    out = rdonet("compare", "a.png", "c.rdo").out
    psnr = out.split("PSNR ")[1].split(" dB")[0]
    assert f" {psnr} dB, levels" in said
    assert f"c.rdo: {Path('c.rdo').stat().st_size} bytes, " in out
    assert "no MS-SSIM, which needs 161 pixels on the short side" in out
    assert rdonet("decompress", "c.rdo", "d.png").code == 0
    assert "no difference" in rdonet("compare", "c.rdo", "d.png").out


def test_depths_of_16_bits_gray_and_alpha_are_compared_as_they_are(rdonet, image):
    gray, alpha = image[..., 1], np.tile(np.arange(90, dtype=np.uint8), (100, 1))
    is_16bit = pixel_format.to_uint16(gray)
    writer.save("deep.png", ImageData(is_16bit))
    writer.save("other.png", ImageData(is_16bit ^ 1))
    facts = json.loads(rdonet("compare", "deep.png", "other.png", "--json").out)
    assert facts["psnr"] == pytest.approx(20 * math.log10(65535), abs=1e-6)
    writer.save("gray.png", ImageData(np.ascontiguousarray(gray)))
    srgb.save("colors.png", np.repeat(gray[..., None], 3, axis=2))
    assert "no difference" in rdonet("compare", "gray.png", "colors.png").out
    writer.save("alpha.png", ImageData(image, alpha))
    hidden = np.where(alpha[..., None] > 0, image, 99).astype(np.uint8)
    writer.save("hidden.png", ImageData(hidden, np.maximum(alpha, 2) * (alpha > 0)))
    out = rdonet("compare", "alpha.png", "hidden.png").out
    assert "no difference\n" in out and "largest difference of alpha: 1\n" in out


def test_images_that_cannot_be_compared_are_refused_in_one_sentence(refusal, folder, image):
    srgb.save("cut.png", image[:, :80])
    alpha = np.tile(np.arange(90, dtype=np.uint8), (100, 1))
    writer.save("alpha.png", ImageData(image, alpha))
    writer.save("deep.png", ImageData(pixel_format.to_uint16(image)))
    assert refusal("cut.png", "compare", "a.png", "cut.png") == (
        "has 80x100 pixels, and a.png 90x100: images of different sizes cannot be compared"
    )
    assert refusal("alpha.png", "compare", "a.png", "alpha.png") == (
        "is transparent in places, and a.png is not: flatten it first"
    )
    assert refusal("deep.png", "compare", "deep.png", "a.png") == (
        "has 16 bits, and a.png 8: images of different depths cannot be compared"
    )
    assert "No such file" in refusal("none.png", "compare", "a.png", "none.png")
    Path("d").mkdir()
    assert refusal("d", "compare", "d", "a.png") == "is a folder"
    Path("bad.rdo").write_bytes(Path("b.rdo").read_bytes()[:-9])
    assert "truncated" in refusal("bad.rdo", "compare", "bad.rdo", "a.png")


def test_the_difference_overwrites_no_input_and_nothing_without_force(refusal, rdonet, pair):
    both = ["first.png", "second.png"]
    assert "is an input" in refusal(
        "first.png", "compare", *both, "--difference", "first.png", "--force"
    )
    Path("d.png").write_bytes(b"precious")
    assert "exists already" in refusal("d.png", "compare", *both, "--difference", "d.png")
    assert rdonet("compare", *both, "--difference", "d.png", "--force").code == 0
    assert reader.load("d.png").size == (200, 300)


def test_images_that_memory_cannot_compare_are_refused(pair, refusal, monkeypatch):
    monkeypatch.setattr(comparison.system_memory, "available_bytes", lambda: 10**7)
    cause = refusal("first.png", "compare", "first.png", "second.png")
    assert cause.startswith("comparing 300x200 pixels takes about 0.0 GiB of memory")


def test_pixels_that_either_image_hides_count_as_equal(rdonet, image):
    alpha = np.full(image.shape[:2], 255, np.uint8)
    other = alpha.copy()
    alpha[:60], other[:61] = 0, 0
    writer.save("a.png", ImageData(image, alpha), force=True)
    writer.save("b.png", ImageData(image, other), force=True)
    out = rdonet("compare", "a.png", "b.png").out
    assert "no difference\n" in out and "largest difference of alpha: 255\n" in out
    brighter = np.minimum(image, 247) + np.uint8(8)
    writer.save("b.png", ImageData(brighter, other), force=True)
    facts = json.loads(rdonet("compare", "a.png", "b.png", "--json", "--difference", "d.png").out)
    assert facts["differing_pixels"] == pytest.approx(np.mean(other > 0))
    assert not reader.load("d.png").pixels[:61].any()
