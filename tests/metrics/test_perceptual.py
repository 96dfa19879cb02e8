"""Perceptual metrics: against independent computations, at their ends, where they are missing."""

from __future__ import annotations

import importlib.metadata
import io
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import signal

from rdonet_jax.metrics import libraries, perceptual, quality
from rdonet_jax.metrics.libraries import MissingMetricError

pytestmark = pytest.mark.once

LUMINANCE_TABLE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
"""JPEG's example of a quantization table, from which PSNR-HVS-M has its weights."""


def measured(name: str, original: np.ndarray, decoded: np.ndarray) -> float | None:
    """The metric; the test is skipped where it is not installed."""
    try:
        quality.require([name])
    except MissingMetricError as error:
        pytest.skip(str(error))
    try:
        return quality.METRICS[name].measure(original, decoded)
    except MissingMetricError as error:  # weights that a machine without network cannot fetch
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def jpegs(photograph) -> list[np.ndarray]:
    """A photograph of 181x237 pixels, and it at two qualities of JPEG, the better one first."""
    image = np.ascontiguousarray(photograph[:181, :237])
    found = [image]
    for setting in (85, 25):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=setting)
        found.append(np.asarray(Image.open(file).convert("RGB")))
    return found


@pytest.mark.parametrize("name", quality.optional())
def test_a_better_image_has_a_better_value(name, jpegs):
    original, better, worse = jpegs
    values = [measured(name, original, one) for one in (better, worse)]
    assert (values[0] > values[1]) == quality.METRICS[name].higher_is_better


@pytest.mark.parametrize("name", quality.optional())
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (7, 200)])
def test_an_image_that_is_too_small_has_no_value(name, size):
    image = np.zeros((*size, 3), np.uint8)
    assert measured(name, image, image) is None
    assert "short side under" in quality.METRICS[name].left_out


@pytest.mark.parametrize("name", ["ssimulacra2", "psnr-hvs-m", "butteraugli", "cvvdp"])
@pytest.mark.parametrize("size", [(8, 8), (9, 300), (65, 33)])
def test_the_smallest_and_odd_sizes_have_values(name, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert math.isfinite(measured(name, image, 255 - image))


def test_equal_images_have_the_best_value(photograph):
    for name, best in (("ssimulacra2", 100.0), ("psnr-hvs-m", None)):
        assert measured(name, photograph, photograph) == best


def recursive_gaussian(image: np.ndarray) -> np.ndarray:
    """The filter along the first axis as the reference has it: three recursions, and zeros outside.

    Charalampidis, "Recursive implementation of the Gaussian filter using truncated cosine
    functions", 2016, with sigma 1.5 and radius 5.
    """
    sigma, radius = 1.5, 5
    omega = np.array([1, 3, 5]) * math.pi / (2 * radius)
    signs = np.array([1, -1, 1])
    p = signs / np.tan(omega / 2)
    r = signs * p**2 / np.sin(omega)
    rho = np.exp(-0.5 * sigma**2 * omega**2) / radius
    zeta = np.cross(p, r)
    zeta = zeta / zeta[2]
    target = [1, radius**2 - sigma**2, zeta @ rho]
    beta = np.linalg.solve(np.stack([p, r, zeta]), target)
    length = len(image)
    padded = np.pad(image, ((2 * radius, 2 * radius), (0, 0), (0, 0)))
    # Output n takes the inputs n - radius - 1 and n + radius - 1, from n = 1 - radius on.
    at = np.arange(1 - radius, length) + 2 * radius
    padded = np.pad(padded, ((0, 1), (0, 0), (0, 0)))
    total = padded[at - radius - 1] + padded[at + radius - 1]
    parts = [
        signal.lfilter([-b * math.cos(w * (radius + 1))], [1, -2 * math.cos(w), 1], total, axis=0)
        for b, w in zip(beta, omega, strict=True)
    ]
    return sum(parts)[radius - 1 :]


def test_the_filter_of_ssimulacra2_is_that_of_the_reference(photograph):
    image = photograph[:37, :50] / 255
    along_rows = recursive_gaussian(image)
    expected = recursive_gaussian(along_rows.swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(perceptual._blurred(image), expected, atol=1e-7)


def test_ssimulacra2_treats_rows_and_columns_alike(jpegs):
    original, better, _ = jpegs
    turned = measured("ssimulacra2", original.swapaxes(0, 1), better.swapaxes(0, 1))
    assert measured("ssimulacra2", original, better) == pytest.approx(turned, abs=1e-9)


def spread(block: np.ndarray) -> float:
    return block.var(ddof=1) * block.size


def masking(block: np.ndarray, coefficients: np.ndarray) -> float:
    """The mask of a block by Ponomarenko et al., 2007."""
    energy = (coefficients**2 * (10 / LUMINANCE_TABLE) ** 2).ravel()[1:].sum()
    whole = spread(block)
    quarters = sum(spread(block[y : y + 4, x : x + 4]) for y in (0, 4) for x in (0, 4))
    return math.sqrt(energy * (quarters / whole if whole else 0.0) / 16 / 64)


def test_psnr_hvs_m_is_that_of_its_paper(jpegs):
    original, _, worse = jpegs
    lumas = [np.round(image @ [65.481, 128.553, 24.966] / 255 + 16) for image in (original, worse)]
    n = np.arange(8)
    cosines = np.sqrt(2 / 8) * np.cos((2 * n + 1) * n[:, None] * math.pi / 16)
    cosines[0] /= math.sqrt(2)
    weights = 25.735 / LUMINANCE_TABLE
    total, count = 0.0, 0
    for top in range(0, 181 - 7, 8):
        for left in range(0, 237 - 7, 8):
            blocks = [luma[top : top + 8, left : left + 8] for luma in lumas]
            found = [cosines @ block @ cosines.T for block in blocks]
            mask = max(masking(*pair) for pair in zip(blocks, found, strict=True))
            difference = np.abs(found[0] - found[1])
            thresholds = mask * (LUMINANCE_TABLE / 10) ** 2
            thresholds[0, 0] = 0
            total += np.square(np.maximum(difference - thresholds, 0) * weights).sum()
            count += 64
    expected = 10 * math.log10(255**2 * count / total)
    assert measured("psnr-hvs-m", original, worse) == pytest.approx(expected, abs=2e-3)


@pytest.fixture
def program(monkeypatch, tmp_path) -> Iterator[Path]:
    """A program of the name of Butteraugli's, so that it is tried everywhere.

    It runs anew, and no other test gets its numbers.
    """
    path = tmp_path / "butteraugli_main"
    path.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    perceptual._butteraugli_of_files.cache_clear()
    yield path
    perceptual._butteraugli_of_files.cache_clear()


def test_butteraugli_gives_the_numbers_that_the_program_prints(program):
    program.write_text('#!/bin/sh\ntest -f "$1" && echo "$4.25" && echo "3-norm: 0.75"\n')
    image = np.zeros((9, 8, 3), np.uint8)
    assert perceptual.butteraugli(image, image) == 80.25
    assert perceptual.butteraugli_3norm(image, image) == 0.75


def test_both_metrics_of_butteraugli_take_one_run_of_the_program_for_each_image(program):
    runs = program.with_name("runs")
    program.write_text(f'#!/bin/sh\necho >>"{runs}"\ncmp -s "$1" "$2"\necho $?\necho "n: 2"\n')
    image = np.zeros((9, 8, 3), np.uint8)
    for number, (decoded, distance) in enumerate([(image, 0.0), (image + 1, 1.0)], start=1):
        seen = quality.measure(image, decoded, ["butteraugli", "butteraugli-3norm"])
        assert (seen["butteraugli"], seen["butteraugli-3norm"]) == (distance, 2.0)
        assert len(runs.read_text()) == number


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "butteraugli_main failed: .* 3"),
        ("true", "butteraugli_main printed '', not two distances"),
        ("echo 1.5", r"butteraugli_main printed '1.5\\n', not two distances"),
        ("echo a; echo b", r"butteraugli_main printed 'a\\nb\\n', not two distances"),
        (r"printf '\377'", "butteraugli_main printed '\ufffd', not two distances"),
        ("printf '%090d' 0", "butteraugli_main printed '0{80}', not two distances"),
    ],
)
def test_a_program_that_gives_no_distances_is_a_sentence(program, script, message):
    program.write_text(f"#!/bin/sh\n{script}\n")
    image = np.zeros((9, 8, 3), np.uint8)
    with pytest.raises(MissingMetricError, match=f"^butteraugli: {message}"):
        perceptual.butteraugli(image, image)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("ssimulacra2", "ssimulacra2", "metrics"),
        ("psnr-hvs-m", "psnr_hvsm", "metrics"),
        ("lpips", "piq", "metrics-torch"),
        ("cvvdp", "pycvvdp", "metrics-torch"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it(
    monkeypatch, name, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingMetricError) as caught:
        quality.require(["psnr", name])
    package = quality.METRICS[name].library.name
    assert str(caught.value) == (
        f"{name}: needs the package {package}: pip install 'rdonet-jax[{extra}]' brings it"
    )


def test_a_program_that_is_missing_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingMetricError, match="butteraugli_main, in Debian's package libjxl-"):
        quality.require(["butteraugli"])


def test_what_computes_a_metric_is_told_with_its_version():
    package = libraries.Package("numpy", "numpy", "metrics")
    assert package.version() == f"numpy {importlib.metadata.version('numpy')}"
    assert quality.METRICS["butteraugli"].software == (
        "butteraugli_main; largest distance, 80 cd/m²"
    )
    assert quality.software(["psnr"]) == {}


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), jnp.float32(0.5), 0.5])
def test_a_metric_may_give_the_numbers_of_any_library(value):
    metric = quality.QualityMetric("own", "Own", lambda *_: value)
    found = metric.measure(*[np.zeros((8, 8, 3), np.uint8)] * 2)
    assert found == 0.5 and type(found) is float


@pytest.mark.parametrize("value", ["0.5", np.zeros(3), [1.0, 2.0]])
def test_a_metric_that_gives_no_number_is_named(value):
    metric = quality.QualityMetric("own", "Own", lambda *_: value)
    with pytest.raises(TypeError, match="the metric 'own' gives a number or None, not"):
        metric.measure(*[np.zeros((8, 8, 3), np.uint8)] * 2)


def test_only_what_is_asked_for_is_measured_beside_the_default_metrics(photograph, monkeypatch):
    calls = []
    odd = quality.QualityMetric("odd", "Odd", lambda *_: calls.append(1) or 3.0, is_default=False)
    monkeypatch.setitem(quality.METRICS, "odd", odd)
    assert list(quality.measure(photograph, photograph)) == ["psnr", "ms_ssim"]
    assert not calls
    assert quality.measure(photograph, photograph, ["odd"])["odd"] == 3.0
    assert "odd" in quality.optional()
