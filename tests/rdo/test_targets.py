"""Metrics as targets: met from the better side, for images of all kinds, or refused."""

from __future__ import annotations

import math
import re
import shutil
import sys
import zlib

import numpy as np
import pytest

from rdonet_jax.codec import codec, preparation
from rdonet_jax.imaging import pixel_format
from rdonet_jax.metrics.quality import QualityMetric
from rdonet_jax.rdo import encoder, quality_search, rate_control, target_trials
from rdonet_jax.rdo.encode_options import EncodeOptions, Target
from rdonet_jax.rdo.encoder import EncodeResult
from rdonet_jax.rdo.targets import TARGET_METRICS, TargetError

pytestmark = pytest.mark.once

MOST = 640

IMAGES = {
    "one pixel": np.full((1, 1, 3), 200, np.uint8),
    "17x3 of a photograph": None,
    "black": np.zeros((70, 90, 3), np.uint8),
    "gray": np.full((33, 65), 128, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (66, 70, 3), np.uint8),
}


@pytest.fixture(params=IMAGES)
def odd(request, photograph):
    image = IMAGES[request.param]
    return np.ascontiguousarray(photograph[50:67, 60:63]) if image is None else image


def toy(image: np.ndarray, quality: float) -> tuple[bytes, np.ndarray]:
    """A file and its pixels by rounding to multiples of a step, which is 64 to 1.1 gray levels.

    On flat images neither its sizes nor its errors rise and fall with the quality.
    """
    step = 64 * (1.1 / 64) ** (quality / 100)
    levels = np.round(image / step)
    decoded = np.clip(np.round(levels * step), 0, 255).astype(np.uint8)
    return zlib.compress(levels.astype(np.uint8).tobytes()), decoded


@pytest.fixture
def coder(monkeypatch):
    """Lets rate control encode by `toy`."""

    def encode(model, prepared, options, report=codec.silent):
        data, decoded = toy(prepared.content.pixels, options.quality)
        encoded = codec.Encoded(data, decoded, (), options.quality)
        return EncodeResult(encoded, None, None, prepared, None)

    monkeypatch.setattr(encoder, "encode", encode)


def error(original: np.ndarray, decoded: np.ndarray) -> float:
    """The mean absolute error of images in 8-bit RGB."""
    assert original.dtype == decoded.dtype == np.uint8
    assert original.shape == decoded.shape and original.shape[2] == 3
    return float(np.mean(np.abs(original.astype(int) - decoded)))


@pytest.fixture
def by_error(monkeypatch):
    """Takes `error` for Butteraugli, so that a distance is a target that is measured everywhere."""
    metric = QualityMetric("error", "Error", error, higher_is_better=False)
    target = TARGET_METRICS["butteraugli"]._replace(metric=metric)
    monkeypatch.setitem(TARGET_METRICS, "butteraugli", target)


def scan(image: np.ndarray) -> list[tuple[int, float, float]]:
    """Size, PSNR and `error` of all scanned qualities."""
    found = []
    for number in quality_search.evenly(MOST, target_trials.SCANNED):
        data, decoded = toy(image, 100 * number / MOST)
        both = pixel_format.as_rgb8(image), pixel_format.as_rgb8(decoded)
        found.append((len(data), pixel_format.psnr(image, decoded), error(*both)))
    return found


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.0])
def test_what_a_scanned_quality_has_is_met_for_every_kind_of_target(
    mini_model, odd, coder, by_error, quantile
):
    def reached(target):
        return rate_control.encode(mini_model, odd, EncodeOptions(target=target)).encoded

    sizes, psnrs, errors = (np.array(column) for column in zip(*scan(odd), strict=True))
    size = int(np.quantile(sizes, quantile, method="nearest"))
    assert len(reached(Target(size=size)).data) <= size

    psnr = min(float(np.quantile(psnrs, quantile, method="nearest")), 90.0)
    found = reached(Target(psnr=psnr))
    assert pixel_format.psnr(odd, found.image) >= psnr
    assert len(found.data) <= 1.2 * sizes[psnrs >= psnr].min()

    distance = max(float(np.quantile(errors, quantile, method="nearest")), 0.01)
    found = reached(Target(butteraugli=distance))
    assert error(pixel_format.as_rgb8(odd), pixel_format.as_rgb8(found.image)) <= distance
    assert len(found.data) <= 1.2 * sizes[errors <= distance].min()


def test_a_distance_out_of_reach_is_refused_with_what_can_be_had(mini_model, coder, by_error):
    with pytest.raises(TargetError) as caught:
        options = EncodeOptions(target=Target(butteraugli=0.01))
        rate_control.encode(mini_model, IMAGES["noise"], options)
    named = re.fullmatch(
        r"the best image, of quality [\d.]+, has Error (0\.\d{3}), not 0.01", str(caught.value)
    )
    least = min(errors for _, _, errors in scan(IMAGES["noise"]))
    assert 0.01 < float(named[1]) <= math.ceil(1000 * least) / 1000


@pytest.mark.parametrize("field", ["ms_ssim", "ssimulacra2", "butteraugli"])
def test_a_metric_is_met_and_no_more_than_is_tolerated(mini_model, photograph, coder, field):
    metric = TARGET_METRICS[field]
    try:
        metric.require()
    except TargetError as missing:
        pytest.skip(str(missing))
    image = np.ascontiguousarray(photograph[:165, :200])
    prepared = preparation.prepare(mini_model.config, image)

    def at(quality):
        return metric.to_scale(metric.measure(prepared, toy(image, quality)[1]))

    limit = metric.measure(prepared, toy(image, 61.3)[1])
    options = EncodeOptions(target=Target(**{field: limit}))
    found = rate_control.encode(mini_model, prepared, options).encoded
    excess = metric.to_scale(metric.measure(prepared, found.image)) - metric.to_scale(limit)
    assert excess >= 0
    assert excess <= metric.tolerance or at(found.quality - 100 / MOST) < metric.to_scale(limit)


def test_an_image_without_a_value_is_refused(mini_model, photograph):
    small = np.ascontiguousarray(photograph[:160, :160])
    with pytest.raises(TargetError, match="has no MS-SSIM: short side under 161"):
        rate_control.encode(mini_model, small, EncodeOptions(target=Target(ms_ssim=0.9)))


def test_what_is_not_installed_is_refused_before_anything_is_encoded(mini_model, monkeypatch):
    monkeypatch.setattr(encoder, "encode", None)
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    image = IMAGES["black"]
    with pytest.raises(TargetError, match=r"SSIMULACRA2: needs .* 'rdonet-jax\[metrics\]' brings"):
        rate_control.encode(mini_model, image, EncodeOptions(target=Target(ssimulacra2=80)))
    with pytest.raises(TargetError, match="Butteraugli: needs the program butteraugli_main"):
        rate_control.encode(mini_model, image, EncodeOptions(target=Target(butteraugli=1)))


@pytest.mark.parametrize("field", TARGET_METRICS)
def test_values_rise_on_the_scale_with_the_quality(field):
    metric = TARGET_METRICS[field]
    values = {"psnr": [20, 30], "ms_ssim": [0.8, 0.99], "ssimulacra2": [-40, 90]}
    worse, better = values.get(field, [5.0, 0.5])
    assert metric.to_scale(worse) < metric.to_scale(better)
    best = {"ms_ssim": 1.0, "ssimulacra2": 100.0, "butteraugli": 0.0, "psnr": math.inf}[field]
    assert metric.to_scale(best) == math.inf


def test_a_miss_never_reads_as_a_hit():
    assert TARGET_METRICS["psnr"].in_words(39.999) == "39.99 dB"
    assert TARGET_METRICS["ssimulacra2"].in_words(79.999) == "SSIMULACRA2 79.99"
    assert TARGET_METRICS["butteraugli"].in_words(1.50001) == "Butteraugli 1.501"
    assert TARGET_METRICS["ms_ssim"].in_words(0.9899999) == "MS-SSIM 0.98999"


@pytest.mark.parametrize(
    "wrong",
    [
        {"ms_ssim": 1.0}, {"ms_ssim": 98}, {"ssimulacra2": 100.5}, {"ssimulacra2": -1},
        {"butteraugli": 0}, {"butteraugli": math.inf}, {"ms_ssim": 0.9, "ssimulacra2": 80},
    ],
)  # fmt: skip
def test_values_that_no_image_can_have_are_refused(wrong):
    with pytest.raises(ValueError, match="a target|as a target"):
        Target(**wrong)
