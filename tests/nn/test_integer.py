"""Integers held in floats against integers: NumPy's, and Python's of any size."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.core.config import ConfigError
from rdonet_jax.nn import integer, ops
from tests import reference_prior as reference

SEEDS = st.integers(0, 2**32 - 1)
FEATURES = 5
EXPONENTS = np.arange(-integer.OCTAVES * integer.OCTAVE, integer.OCTAVES * integer.OCTAVE + 1)

layer = integer.Dense(integer.MAX_INPUTS, FEATURES, 7)
dense = jax.jit(
    lambda kernel, bias, x: layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
)
interpolated = jax.jit(integer.interpolate, static_argnums=2)


def layer_of(seed: int, extreme: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel, bias and inputs; a share `extreme` of all is as large as it can be, or larger."""
    rng = np.random.default_rng(seed)

    def pushed(values: np.ndarray, largest: float) -> np.ndarray:
        ends = largest * rng.choice([-1.0, 1.0], values.shape)
        return np.where(rng.random(values.shape) < extreme, ends, values).astype(np.float32)

    # In halves of an integer, so that many lie on ties.
    kernel = rng.integers(-256, 257, (integer.MAX_INPUTS, FEATURES)) / 2**8
    bias = rng.integers(-(2**21), 2**21 + 1, FEATURES) / 2**13
    x = rng.integers(-127, 128, (3, integer.MAX_INPUTS))
    return pushed(kernel, 2.0), pushed(bias, 2.0**20), pushed(x, 127.0)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_the_sums_of_a_layer_are_those_of_integers(seed, extreme):
    kernel, bias, x = layer_of(seed, extreme)
    weights = reference.integers(kernel, 7, 127)
    expected = x.astype(np.int64) @ weights + reference.integers(bias, 12, 2**20)
    np.testing.assert_array_equal(dense(kernel, bias, x), expected)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sum_that_a_layer_can_have_is_exact(sign):
    kernel = np.full((integer.MAX_INPUTS, FEATURES), sign * 9.0, np.float32)
    bias = np.full(FEATURES, sign * 1e9, np.float32)
    expected = integer.MAX_INPUTS * 127 * 127 + 2**20
    assert expected < 2**24
    sums = dense(kernel, bias, np.full((1, integer.MAX_INPUTS), 127, np.float32))
    np.testing.assert_array_equal(sums, np.full((1, FEATURES), sign * expected))
    # One input less than all at an end: the neighboring odd sums are held too.
    x = np.full((1, integer.MAX_INPUTS), 127, np.float32)
    x[0, 0] = 126
    np.testing.assert_array_equal(
        dense(kernel, bias, x), np.full((1, FEATURES), sign * (expected - 127))
    )


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.99, 1.0]))
def test_products_of_bfloat16_and_of_bytes_give_the_same_sums(seed, extreme):
    kernel, bias, x = layer_of(seed, extreme)
    weights = integer.to_integers(jnp.asarray(kernel), 7, 127)
    wide = integer.to_integers(jnp.asarray(bias), 12, 2**20)
    expected = np.asarray(dense(kernel, bias, x))
    for narrow, sums in ((jnp.bfloat16, jnp.float32), (jnp.int8, jnp.int32)):
        product = jax.lax.dot_general(
            jnp.asarray(x).astype(narrow),
            weights.astype(narrow),
            (((1,), (0,)), ((), ())),
            preferred_element_type=sums,
        )
        np.testing.assert_array_equal(product + wide.astype(sums), expected)


def test_a_layer_with_more_products_than_a_sum_holds_is_refused():
    with pytest.raises(ConfigError, match="at most 960 products, not 961"):
        integer.Dense(integer.MAX_INPUTS + 1, 1, 7).init(jax.random.key(0), jnp.zeros((1, 961)))


def test_inputs_that_are_left_out_count_as_zero():
    kernel, bias, x = layer_of(0, 0.5)
    rows = np.flatnonzero(np.random.default_rng(1).random(integer.MAX_INPUTS) < 0.3)
    whole = np.zeros_like(x)
    whole[:, rows] = x[:, rows]
    params = {"params": {"kernel": kernel, "bias": bias}}
    expected = dense(kernel, bias, whole)
    np.testing.assert_array_equal(layer.apply(params, x[:, rows], tuple(rows)), expected)


@settings(deadline=None)
@given(st.integers(-(2**20), 2**20), st.integers(0, 12))
def test_a_shift_rounds_half_to_even(x, bits):
    assert float(integer.shift_right(jnp.float32(x), bits)) == round(Fraction(x, 2**bits))


@pytest.mark.parametrize(("x", "even"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2)])
def test_ties_go_to_the_even_neighbor(x, even):
    assert float(ops.straight_through_round(jnp.float32(x))) == even
    assert float(integer.to_integers(jnp.float32(x / 128), 7, 127)) == even
    assert int(reference.divided(int(2 * x), 1)) == even


def test_powers_are_integer_mantissas_times_powers_of_two():
    beyond = np.array([-(10**6), -3841, 3841, 10**6])
    exponents = np.concatenate([EXPONENTS, beyond]).astype(np.float32)
    found = np.asarray(jax.jit(integer.powers)(exponents)).astype(np.float64)
    octave, place = np.divmod(np.clip(exponents, -3840, 3840).astype(np.int64), 256)
    # Of integers by eight square roots; both factors, and so their product, are exact in float64.
    expected = np.array([reference.mantissa(n) for n in range(256)])[place] * 2.0 ** (octave - 10)
    np.testing.assert_array_equal(found, expected)


def test_powers_rise_with_the_exponent_and_lie_within_an_11th_bit():
    found = np.asarray(integer.powers(EXPONENTS.astype(np.float32)), np.float64)
    assert np.all(np.diff(found) > 0)
    np.testing.assert_allclose(found, 2.0 ** (EXPONENTS / 256), rtol=2**-11)
    assert integer.MANTISSAS.max() < 2**11
    assert integer.MANTISSAS.max() * integer.LARGEST_WIDE < 2**24


def test_no_mantissa_is_so_near_a_tie_that_a_library_could_round_it_the_other_way():
    with localcontext() as context:
        context.prec = 40
        for n, held in enumerate(integer.MANTISSAS):
            value = 1024 * Decimal(2) ** (Decimal(n) / 256)
            assert abs(value - int(held)) < Decimal("0.4995")
    assert all(reference.mantissa(n) == held for n, held in enumerate(integer.MANTISSAS))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from([0, 4]))
def test_scaling_is_exact_for_every_number_and_every_power(seed, bits):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**15), 2**15 + 1, 500)
    x[:100] = rng.choice([-(2**24), -8192, -8191, 0, 1, 8191, 2**24], 100)
    exponents = rng.integers(-8000, 8001, 500)
    exponents[250:] = rng.integers(-2000, 2001, 250)
    expected = reference.times_power(x, exponents, bits)
    found = integer.scale(x.astype(np.float32), exponents.astype(np.float32), bits)
    np.testing.assert_array_equal(found, expected)


def test_the_reference_scales_as_rational_numbers_do():
    rng = np.random.default_rng(0)
    for x, exponent, bits in zip(
        rng.integers(-9000, 9000, 300), rng.integers(-4000, 4000, 300), [0, 4, 9] * 100, strict=True
    ):
        within = int(np.clip(exponent, -3840, 3840))
        power = Fraction(reference.mantissa(within % 256), 1024) * Fraction(2) ** (within // 256)
        value = int(np.clip(x, -8191, 8191)) * power / 2**bits
        assert int(reference.times_power(x, exponent, bits)) == round(value)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_knots_are_met_exactly_and_joined_by_rounded_straight_lines(seed):
    rng = np.random.default_rng(seed)
    knots = rng.integers(-(2**16), 2**16 + 1, (4, 6))
    qualities = np.arange(3 * 128 + 1)
    found = np.asarray(interpolated(knots.astype(np.float32), qualities.astype(np.int32), 128))
    np.testing.assert_array_equal(found[::128], knots)
    np.testing.assert_array_equal(found, [reference.at_quality(knots, int(q)) for q in qualities])
    for knot, ends in enumerate(itertools.pairwise(knots)):
        between = found[128 * knot : 128 * knot + 129]
        assert np.all((between >= np.minimum(*ends)) & (between <= np.maximum(*ends)))


def test_knots_of_floats_are_joined_by_straight_lines():
    knots = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    qualities = np.arange(3 * 128 + 1)
    found = integer.interpolate_unrounded(jnp.asarray(knots), jnp.asarray(qualities), 128)
    expected = [np.interp(qualities / 128, np.arange(4), column) for column in knots.T]
    np.testing.assert_allclose(found, np.transpose(expected), atol=1e-6)


def test_hats_are_full_at_their_knots_and_share_what_lies_between():
    qualities = np.arange(5 * 128 + 1)
    found = np.asarray(integer.quality_basis(jnp.asarray(qualities, jnp.int32), 6, 128))
    np.testing.assert_array_equal(found, [reference.quality_basis(6, int(q)) for q in qualities])
    np.testing.assert_array_equal(found[::128], 127 * np.eye(6))
    between = found[qualities % 128 != 0]
    assert np.all(between.sum(axis=1) == 128) and np.all((between > 0).sum(axis=1) == 2)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_activations_have_8_bits_and_half_of_them_no_sign(seed):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-(2**24), 2**24 + 1, (4, 7)) >> rng.integers(0, 20, (4, 7))
    found = np.asarray(integer.activation(sums.astype(np.float32), 8))
    np.testing.assert_array_equal(found, reference.activation(sums, 8))
    assert np.abs(found).max() <= 127 and found[:, 3:].min() >= 0


@pytest.mark.parametrize("rows", [-2, -1, 0, 1])
@pytest.mark.parametrize("columns", [-1, 0, 1, 2])
def test_a_moved_plane_is_continued_by_zeros(rows, columns):
    plane = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)
    found = np.asarray(integer.shift(jnp.asarray(plane), rows, columns))
    for i, j in np.ndindex(3, 4):
        inside = 0 <= i + rows < 3 and 0 <= j + columns < 4
        expected = plane[:, i + rows, j + columns] if inside else 0 * plane[:, 0, 0]
        np.testing.assert_array_equal(found[:, i, j], expected)


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 2)])
def test_a_neighborhood_gathers_nine_positions_row_by_row(grid):
    x = np.random.default_rng(0).integers(-127, 128, (*grid, 3))
    found = np.asarray(integer.gather_3x3(jnp.asarray(x[None], jnp.float32)))[0]
    for place in np.ndindex(grid):
        np.testing.assert_array_equal(found[place], reference.around(x, *place))


def test_gradients_pass_roundings_as_if_they_were_not_there():
    x = jnp.asarray([-3.7, -0.5, 0.2, 4.5])
    slope = jax.grad(lambda v: jnp.sum(ops.straight_through_round(v)))(x)
    np.testing.assert_array_equal(slope, np.ones(4))
    slope = jax.grad(lambda v: jnp.sum(integer.shift_right(v, 3)))(x)
    np.testing.assert_array_equal(slope, np.full(4, 1 / 8))

    kernel, bias, inputs = (jnp.asarray(v) for v in layer_of(0, 0.0))
    sums = jax.grad(lambda k, b: jnp.sum(layer.apply({"params": {"kernel": k, "bias": b}}, inputs)),
                    argnums=(0, 1))  # fmt: skip
    kernel_slope, bias_slope = sums(0.9 * kernel, 0.1 * bias)
    expected = np.broadcast_to(2.0**7 * inputs.sum(axis=0)[:, None], kernel.shape)
    np.testing.assert_allclose(kernel_slope, expected, rtol=1e-6)
    np.testing.assert_allclose(bias_slope, np.full(FEATURES, 3 * 2.0**12))


@pytest.mark.parametrize("bounds", [(-127.0, 127.0), (0.0, 63.0)])
def test_a_clip_and_its_gradient_are_those_of_the_library(bounds):
    around = np.concatenate([np.nextafter(b, [-np.inf, b, np.inf], dtype="f4") for b in bounds])
    x = jnp.asarray([-np.inf, -1e30, -200.0, *around, 0.5, 5.0, 1e30, np.inf], jnp.float32)
    assert np.isnan(integer.clamp(jnp.asarray(jnp.nan), *bounds))
    for clip in (integer.clamp, jax.jit(integer.clamp, static_argnums=(1, 2))):
        np.testing.assert_array_equal(clip(x, *bounds), jnp.clip(x, *bounds))
    slope, expected = (
        jax.vjp(lambda v, clip=clip: clip(v, *bounds), x)[1](3 * jnp.ones_like(x))[0]
        for clip in (integer.clamp, jnp.clip)
    )
    np.testing.assert_array_equal(slope, expected)
    assert {0.0, 1.5, 3.0} == set(np.asarray(slope).tolist())


def test_the_slope_of_powers_is_that_of_the_smooth_function():
    exponents = jnp.asarray([-2500.0, -256.0, -3.0, 0.0, 100.0, 2000.0])
    found = np.asarray(jax.vmap(jax.grad(integer.powers))(exponents), np.float64)
    smooth = 2.0 ** (np.asarray(exponents) / 256) * np.log(2) / 256
    np.testing.assert_allclose(found, smooth, rtol=1e-3)


def test_gradients_are_finite_whatever_the_integers_are():
    ends = jnp.asarray([-(2.0**24), -8192.0, -1.0, 0.0, 1.0, 8192.0, 2.0**24])
    x, exponents = (v.ravel() for v in jnp.meshgrid(ends, ends))
    slopes = jax.grad(lambda *v: jnp.sum(integer.scale(*v, 4)), argnums=(0, 1))(x, exponents)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    sums = jax.grad(lambda v: jnp.sum(integer.activation(v, 7)))(x)
    assert np.all(np.isfinite(sums))
    kernel, bias, inputs = (jnp.asarray(v) for v in layer_of(0, 1.0))
    slope = jax.grad(
        lambda k: jnp.sum(layer.apply({"params": {"kernel": k, "bias": bias}}, inputs))
    )
    np.testing.assert_array_equal(slope(kernel), 0 * kernel)  # beyond its bounds: clipped
