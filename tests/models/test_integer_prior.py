"""The prior path: what a prediction may see, how large it may get, and the same numbers always."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.core import config
from rdonet_jax.entropy import distributions
from rdonet_jax.models import registry
from rdonet_jax.models.portable import groups, integer_format, integer_prior
from rdonet_jax.models.portable.integer_format import PLANES
from rdonet_jax.models.portable.integer_prior import LevelPrior, Prediction
from rdonet_jax.nn import integer
from tests import portable_params
from tests import reference_prior as reference
from tests.portable_params import ENDS, GROUPS, grouped, preset

LEVEL = 1
GRID = (6, 8)
CONTEXTS = (1, 2, 4)


@functools.partial(jax.jit, static_argnums=0, compiler_options=portable_params.QUICKLY)
def predictions(
    model: config.PortableConfig,
    prior: Any,
    z_hat: jax.Array,
    coarser: jax.Array,
    quality: jax.Array,
    symbols: jax.Array,
    mask: jax.Array,
) -> Mapping[tuple[int, int], Prediction]:
    """Of all planes of a level whose symbols [B, h, w, L] are known; those not coded are junk."""

    def step(method: str, *arguments: Any) -> Any:
        return LevelPrior(model, LEVEL).apply({"params": prior}, *arguments, method=method)

    context = step("compute_context", z_hat, coarser, quality, mask.shape[1:3])
    values, coded = integer_prior.split_planes(symbols), integer_prior.split_planes(mask[..., None])
    found: dict[tuple[int, int], Prediction] = {}
    embedded: dict[tuple[int, int], jax.Array] = {}
    for group in integer_format.DECODE_ORDER[model.context]:
        before = dict(embedded)
        for parity in group:
            hidden = step("hidden_features", parity, context, before)
            channel_groups = integer_format.channel_groups(model, LEVEL)
            parts = [
                step("predict", number, hidden, values[parity][..., : channels.start],
                     context.gains)
                for number, channels in enumerate(channel_groups)
            ]  # fmt: skip
            found[parity] = Prediction(
                *(jnp.concatenate(p, axis=-1) for p in zip(*parts, strict=True))
            )
            v = integer_prior.latent_integers(found[parity].mu, values[parity])
            embedded[parity] = step("embed_latents", v, coded[parity][..., 0], context.gains)
    return found


def given_to(
    context: int, seed: int, batch: int, extreme: bool = False, preset: Any = preset
) -> list[Any]:
    """Arguments of `predictions`, different in every example of the batch."""
    model, rng = preset(context), np.random.default_rng(seed)
    prior = portable_params.acting(model)[f"units_{LEVEL}"]["prior"]
    inputs = 9 * model.embedding + model.conditioning
    z_hat = rng.integers(-9, 10, (batch, 2, 2, model.hyper_latents[LEVEL]))
    coarser = rng.integers(-127, 128, (batch, GRID[0] // 2, GRID[1] // 2, inputs))
    symbols = rng.integers(-9, 10, (batch, *GRID, model.latents[LEVEL]))
    quality = rng.integers(0, model.steps_of_quality + 1, batch).astype(np.int32)
    if extreme:
        symbols = rng.choice(ENDS, symbols.shape)
        z_hat = rng.choice([-(2**24), 2**24], z_hat.shape)
        coarser = rng.choice([-127, 127], coarser.shape)
        quality = rng.choice([0, model.steps_of_quality], batch).astype(np.int32)
    mask = rng.random((batch, *GRID)) < 0.7
    floats = (v.astype(np.float32) for v in (z_hat, coarser, symbols, mask))
    z_hat, coarser, symbols, mask = floats
    return [model, prior, z_hat, coarser, quality, symbols, mask]


def assert_equal(a: Mapping, b: Mapping) -> None:
    for parity in PLANES:
        for x, y in zip(a[parity], b[parity], strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 2), (4, 5), (5, 7)])
def test_planes_are_put_together_as_they_were_taken_apart(grid):
    x = np.arange(2 * np.prod(grid) * 3, dtype=np.float32).reshape(2, *grid, 3)
    planes = integer_prior.split_planes(jnp.asarray(x))
    half = tuple(-(-side // 2) for side in grid)
    assert all(plane.shape == (2, *half, 3) for plane in planes.values())
    for i, j in np.ndindex(grid):
        np.testing.assert_array_equal(planes[i % 2, j % 2][:, i // 2, j // 2], x[:, i, j])
    np.testing.assert_array_equal(integer_prior.join_planes(planes, grid), x)


@pytest.mark.parametrize(("context", "before"), [(1, [0, 0, 0, 0]), (2, [0, 0, 2, 2]),
                                                 (4, [0, 1, 2, 3])])  # fmt: skip
def test_every_plane_knows_those_of_earlier_steps(context, before):
    order = [parity for step in integer_format.DECODE_ORDER[context] for parity in step]
    assert sorted(order) == sorted(PLANES)
    for parity, count in zip(order, before, strict=True):
        assert integer_prior.planes_before(context, parity) == tuple(order[:count])
    with pytest.raises(ValueError, match="no plane"):
        integer_prior.planes_before(context, (2, 0))


@pytest.mark.slow
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_prediction_hangs_on_the_planes_of_earlier_steps_and_on_no_others(context):
    arguments = given_to(context, 0, 1)
    *_, symbols, mask = arguments
    # One example as it is, and one for each plane that is changed.
    symbols, mask = np.repeat(symbols, 5, axis=0), np.ones((5, *GRID), np.float32)
    for example, (dy, dx) in enumerate(PLANES, 1):
        symbols[example, dy::2, dx::2] += 5
    repeated = [np.repeat(v, 5, axis=0) for v in arguments[2:5]]
    found = predictions(*arguments[:2], *repeated, symbols, mask)
    for parity in PLANES:
        earlier_planes = integer_prior.planes_before(context, parity)
        for example, changed in enumerate(PLANES, 1):
            same = all(np.array_equal(part[0], part[example]) for part in found[parity])
            assert same == (changed not in earlier_planes), (parity, changed)


@pytest.mark.slow
@pytest.mark.parametrize("context", CONTEXTS)
def test_what_stands_at_positions_that_are_not_coded_is_never_seen(context):
    arguments = given_to(context, 1, 5)
    *before, symbols, mask = arguments
    junk = np.where(mask[..., None] > 0, symbols, np.float32(2**31))
    assert_equal(predictions(*arguments), predictions(*before, junk, mask))


def test_a_symbol_is_seen_by_its_neighbors_alone():
    arguments = given_to(4, 2, 5)
    *before, symbols, _ = arguments
    mask = np.ones((5, *GRID), np.float32)
    changed = symbols.copy()
    changed[:, 2, 4] += 7  # of the first plane: seen at once by the 3×3 positions around it
    a, b = (predictions(*before, s, mask) for s in (symbols, changed))
    second, other = integer_format.DECODE_ORDER[4][1][0], integer_format.DECODE_ORDER[4][0][0]
    differs = np.any(np.asarray(a[second].mu) != np.asarray(b[second].mu), axis=(0, -1))
    rows, columns = 2 * np.arange(3) + second[0], 2 * np.arange(4) + second[1]
    near = (np.abs(rows - 2) <= 1)[:, None] & (np.abs(columns - 4) <= 1)
    np.testing.assert_array_equal(differs, near)
    np.testing.assert_array_equal(a[other].mu, b[other].mu)


@pytest.mark.slow
@pytest.mark.parametrize(("context", "preset"), [(1, preset), (2, preset), (4, preset),
                                                 (2, grouped)])  # fmt: skip
@pytest.mark.parametrize("extreme", [False, True])
def test_predictions_are_integers_within_their_bounds_whatever_was_decoded(
    context, preset, extreme
):
    for mu, index in predictions(*given_to(context, 3, 5, extreme, preset)).values():
        mu, index = np.asarray(mu), np.asarray(index)
        assert np.array_equal(mu, np.round(mu)) and np.array_equal(index, np.round(index))
        assert np.abs(mu).max() <= 8191 and index.min() >= 0 and index.max() <= 63
        assert len(np.unique(mu)) > 100 and len(np.unique(index)) > 10


@pytest.mark.slow
def test_a_group_of_channels_hangs_on_the_groups_before_it_at_its_position_and_on_no_others():
    arguments = given_to(1, 6, 1, preset=grouped)
    *before, symbols, _ = arguments
    starts = (0, *GROUPS[LEVEL], symbols.shape[-1])
    mask = np.ones((1, *GRID), np.float32)
    plain = predictions(*before, symbols, mask)
    for number, start in enumerate(starts[:-1]):
        changed = symbols.copy()
        changed[0, 2, 4, start] += 9
        found = predictions(*before, changed, mask)
        for parity in PLANES:
            by_mu, by_index = (
                np.asarray(a)[0] != np.asarray(b)[0]
                for a, b in zip(found[parity], plain[parity], strict=True)
            )
            differs = by_mu | by_index
            # Row 2 and column 4 lie at (1, 2) of the first plane. Without steps before it, no
            # other position knows of it.
            assert not differs[..., : starts[number + 1]].any()
            elsewhere = differs.copy()
            elsewhere[1, 2] = False
            assert not elsewhere.any()
        later = np.asarray(found[0, 0].mu != plain[0, 0].mu)[0, 1, 2, starts[number + 1] :]
        assert later.any() or not later.size


@pytest.mark.slow
def test_networks_of_groups_change_nothing_before_they_are_trained():
    model, plain = grouped(4), portable_params.acting(preset(4))
    params = groups.add_groups(plain, model, jax.random.key(1))
    shapes = portable_params.shapes(model)
    assert jax.tree_util.tree_map(np.shape, params) == jax.tree_util.tree_map(np.shape, shapes)
    arguments = given_to(4, 7, 3)
    expected = predictions(*arguments)
    prior = params[f"units_{LEVEL}"]["prior"]
    assert_equal(predictions(model, prior, *arguments[2:]), expected)


def test_networks_of_groups_whose_sums_could_be_inexact_are_refused():
    wide = dataclasses.replace(grouped(4), group_hidden=960)
    with pytest.raises(config.ConfigError, match="960 are exact"):
        registry.family_of(wide).param_shapes(wide)
    with pytest.raises(config.ConfigError, match="960 are exact"):
        portable_params.shapes(wide)


def test_alone_a_prediction_is_what_it_is_in_a_batch():
    arguments = given_to(4, 4, 5)
    together = predictions(*arguments)
    alone = predictions(*arguments[:2], *[v[3:4] for v in arguments[2:]])
    for parity in PLANES:
        for x, y in zip(alone[parity], together[parity], strict=True):
            np.testing.assert_array_equal(x[0], y[3])


def test_predictions_are_the_same_with_numbers_of_64_bits():
    arguments = given_to(4, 5, 5)
    compiled = predictions(*arguments)
    with jax.experimental.enable_x64() if not hasattr(jax, "enable_x64") else jax.enable_x64(True):
        assert jnp.zeros(1).dtype == jnp.float64
        wide = [np.asarray(v, np.float64) for v in arguments[2:]]
        assert_equal(predictions(*arguments[:2], *wide), compiled)


def test_a_gain_of_one_octave_more_is_one_octave_more_of_scale():
    model = preset(4)
    scales = distributions.scale_table(model.distribution).astype(np.float64)
    params = portable_params.start(model)[f"units_{LEVEL}"]["prior"]
    octaves = np.arange(-8.0, 9.0)

    def index(octave: float) -> float:
        entry, gain = jnp.float32(16 * 40), jnp.float32(integer.OCTAVE * octave)
        return LevelPrior(model, LEVEL).apply(
            {"params": params}, entry, gain, method="_scale_index"
        )

    found = scales[np.array([int(index(octave)) for octave in octaves])]
    expected = np.clip(scales[40] * 2.0**octaves, scales[0], scales[-1])
    half_an_entry = 0.5 * np.log2(scales[1] / scales[0])
    assert np.all(np.abs(np.log2(found / expected)) < 1.1 * half_an_entry)


def test_indices_per_octave_are_the_nearest_integers():
    found = {name: integer_format.index_per_octave(name) for name in distributions.DISTRIBUTIONS}
    assert found == {name: reference.index_per_octave(name) for name in found}
    assert max(found.values()) * integer.OCTAVES * integer.OCTAVE < 2**24
