"""docs/extending.md: its code runs as it stands, and what it adds is there everywhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.entropy import distributions, likelihoods, range_coder
from rdonet_jax.imaging import srgb
from rdonet_jax.metrics import loss, quality
from rdonet_jax.models import registry
from rdonet_jax.rdo import encoder, initial_masks
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.encode_options import Plan
from rdonet_jax.training import masks
from tests.conftest import ROOT

pytestmark = [pytest.mark.once, pytest.mark.slow]

REGISTRIES = (
    distributions.DISTRIBUTIONS,
    initial_masks.INITS,
    loss.DISTORTIONS,
    masks.SCHEDULES,
    quality.METRICS,
    registry.FAMILIES,
)


@pytest.fixture(scope="module")
def program(images, tmp_path_factory):
    """What the page's code has made, what it has printed, and its folder."""
    pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")
    folder = tmp_path_factory.mktemp("extending")
    (folder / "photographs").mkdir()
    for name, image in zip("abc", images, strict=True):
        srgb.save(folder / f"photographs/{name}.png", image.pixels[:80, :100])
    text = (ROOT / "docs/extending.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M)
    made: dict[str, object] = {"__name__": "extending"}
    printed = io.StringIO()
    with contextlib.ExitStack() as stack:
        for known in REGISTRIES:
            stack.enter_context(mock.patch.dict(known))
        before = os.getcwd()
        stack.callback(os.chdir, before)
        os.chdir(folder)
        with contextlib.redirect_stdout(printed):
            for block in blocks:
                exec(compile(block, "docs/extending.md", "exec", dont_inherit=True), made)
        yield made, printed.getvalue(), folder


def test_the_distortion_is_in_the_description_and_in_the_search(program):
    made, printed, _ = program
    assert "trained for bpp + 0.17 * 255 * Charbonnier" in printed
    assert made["found"].searched.after <= made["found"].searched.before
    assert made["decoded"].shape == made["image"].shape


def test_the_search_splits_where_that_costs_less_and_nowhere_else(program):
    made = program[0]
    image, cost = made["image"], RDCost(made["model"], made["image"])
    found = made["greedy"](made["model"], image, None)
    assert made["by_greedy"].searched.after <= made["by_greedy"].searched.before
    coarse = partition.uniform(2, found.split64.shape)
    totals = [cost([p]).totals[0] for p in (found, coarse)]
    assert totals[0] < totals[1] if found.split64.any() else totals[0] == totals[1]
    flipped = found.split64.copy()
    flipped[-1, -1] ^= True  # the last block that was looked at, with all others as they are
    assert cost([Partition(flipped, found.split32)]).totals[0] >= totals[0]


def test_maps_of_a_distortion_of_pixels_add_up_to_its_mean(program):
    rng = np.random.default_rng(0)
    pixels, decoded = rng.integers(0, 256, (2, 64, 128, 3), np.uint8)
    own = [40, 100]
    charbonnier = program[0]["Charbonnier"]()
    maps = charbonnier.maps(jnp.asarray(pixels), jnp.asarray(decoded), jnp.array(own))
    x, x_hat = (jnp.asarray(v, jnp.float32)[None] / 255 for v in (pixels, decoded))
    whole = charbonnier.of_batch(x, x_hat, jnp.array([own]))
    assert maps.shape == (1, 4, 8)
    assert float(maps.sum()) == pytest.approx(255 * float(whole[0]) * 40 * 100, rel=1e-4)
    assert float(maps[:, 3:].sum()) == 0


def test_the_distribution_has_whole_tables_and_finite_gradients(program):
    tables = distributions.scale_tables("logistic")
    assert len(tables.cdfs) == distributions.SCALE_COUNT
    symbols = np.array([0, 1, -3, 40], np.int32)
    run = (symbols, np.array([0, 20, 40, 63], np.int32))
    data = range_coder.encode([run], tables, next(iter(range_coder.CODERS)))
    assert data
    v, scale = jnp.array([0.0, 0.5, 7.0, 1e6]), jnp.array([0.045, 1.0, 30.0, 256.0])
    for argument in (0, 1):
        total = lambda *both: likelihoods.bits(*both, "logistic").sum()  # noqa: E731
        assert np.isfinite(jax.grad(total, argument)(v, scale)).all()


def test_tails_and_bits_of_the_distribution_agree(program):
    logistic = program[0]["Logistic"]()
    for scale in (0.3, 1.0, 9.0):
        beyond = [logistic.tail((k - 0.5) / scale) for k in (1, 2, 3)]
        expected = -np.log2(-np.diff(beyond))
        np.testing.assert_allclose(logistic.bits(jnp.array([1.0, 2.0]), scale), expected, rtol=1e-4)


def test_masks_are_taken_in_coding_and_by_the_command(program):
    made, _, folder = program
    assert made["exit_code"] == 0
    assert (folder / "a.rdo").stat().st_size > 0
    chosen = encoder.choose(made["model"], made["image"], Plan("center"))
    assert chosen.split64.tolist() == [[True, True], [True, True]]


def test_the_schedule_is_recorded_and_fades(program):
    made, _, _ = program
    assert made["model"].record.stored["training"]["masks"] == "fading"
    x = jnp.zeros((4, 64, 64, 3))
    keys = jax.random.split(jax.random.key(0), 4)
    settings = mock.Mock(steps=10)
    drawn, seen = (
        masks.SCHEDULES["fading"](made["model"].config, settings, jnp.int32(step), x, None, keys)
        for step in (0, 10)
    )
    assert np.any(drawn.split64) and not np.any(seen.split64)


def test_what_the_schedule_draws_are_independent_numbers(program):
    made, _, _ = program
    count = 600
    x = jnp.zeros((count, 64, 64, 3))  # no variance: only random masks split it
    keys = jax.random.split(jax.random.key(0), count)
    settings = mock.Mock(steps=10)
    chosen = made["fading"](made["model"].config, settings, jnp.int32(7), x, None, keys)
    shares = np.asarray(chosen.split32).mean(axis=0)
    # Random are 3 in 10, and they split 2 in 3 of the 64x64 blocks and half of their 32x32 blocks.
    np.testing.assert_allclose(shares, 0.3 / 3, atol=0.05)


def test_the_metric_is_in_table_file_curve_rates_and_report(program):
    made, printed, folder = program
    head = next(line for line in printed.splitlines() if "MAE levels" in line)
    assert head.split().index("SSIM") > head.split().index("MAE")
    assert re.search(r"^webp +MAE ", printed, re.M)
    stored = json.loads((folder / "mine.json").read_text())
    assert list(stored["results"]) == [
        "bpp", "psnr-rgb", "ms-ssim-rgb", "mae", "ssim", "encoding_time", "decoding_time",
    ]  # fmt: skip
    for name in ("mae", "ssim"):
        mean = made["mine"].points[0].mean.quality[name]
        assert stored["results"][name] == [pytest.approx(mean)]
    assert re.fullmatch(r"scikit-image [\d.]+; 7x7 means", stored["settings"]["metrics"]["ssim"])
    report = (folder / "report.html").read_text()
    data = json.loads(re.findall(r'id="data">(.*?)</script>', report, re.S)[0])
    titles = [metric["curve_title"] for metric in data["metrics"]]
    assert titles[-2:] == ["MAE in levels (lower is better)", "SSIM"]
    measured = {rate["metric"] for rate in data["rates"]["rows"]}
    assert measured == {"PSNR", "MS-SSIM", "MAE", "SSIM"}
    assert made["curves"].read(folder / "mine.json") == [made["mine"]]


def test_less_is_better_counts_for_rates(program):
    curve = program[0]["jpeg"]
    line = program[0]["bd_rates"].line([p.mean for p in curve.points], "mae")
    assert line.quality[0] < line.quality[-1] < 0
    assert line.unit == "levels"


def test_the_family_is_stored_by_name_and_codes_a_file(program):
    made, _, _ = program
    assert registry.to_dict(made["block"].config)["family"] == "block"
    assert made["block_image"].shape == made["image"].shape
    assert made["counted"] == {"g_a": 48, "g_s": 48}  # 16 channels, 3 colors


@pytest.mark.parametrize(
    "again",
    [
        lambda: distributions.register(distributions.Laplace()),
        lambda: initial_masks.register_mask("variance", lambda *_: None),
        lambda: loss.register(loss.SquaredError()),
        lambda: masks.register_schedule("two-stage", masks.two_stage),
        lambda: quality.register(quality.QualityMetric("new", "new", max, stored="psnr-rgb")),
    ],
)
def test_a_name_that_is_taken_is_refused(again):
    with pytest.raises(ValueError, match="there is a .* already"):
        again()
