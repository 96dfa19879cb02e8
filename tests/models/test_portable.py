"""The portable network: its size, its levels in order, and what quality does."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.codec.portable import coder as portable_coder
from rdonet_jax.codec.portable import jax_engine
from rdonet_jax.core import config, partition, presets
from rdonet_jax.entropy import distributions, range_coder
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.models import registry
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable import network as portable
from tests import portable_params
from tests.conftest import quick_key
from tests.portable_params import code

pytestmark = pytest.mark.slow

MODEL = presets.mini()
GRID = (3, 4)
"""In 64-blocks, of the shared photograph."""

QUALITIES = np.array([0, 160, 320, 480, 640], np.int32)


def random_partition(grid: tuple[int, int], batch: int) -> partition.Partition:
    rng = np.random.default_rng(5)
    split64 = rng.random((batch, *grid)) < 2 / 3
    split32 = rng.random((batch, 2 * grid[0], 2 * grid[1])) < 1 / 2
    return partition.Partition(split64, split32 & np.kron(split64, np.ones((2, 2))).astype(bool))


def masks_of(kind: str, grid: tuple[int, int] = GRID, batch: int = 1) -> tuple[np.ndarray, ...]:
    if kind == "random":
        drawn = random_partition(grid, batch)
    else:
        drawn = partition.uniform(int(kind), grid, (batch,))
    return tuple(np.asarray(mask) for mask in partition.level_masks(drawn))


@pytest.fixture(scope="module")
def images(photograph) -> np.ndarray:
    """The photograph once for every quality."""
    return np.repeat(photograph[None].astype(np.float32) / 255, len(QUALITIES), axis=0)


def counted_by_hand(model: config.PortableConfig) -> int:
    """Parameters by the table of the network's layers."""

    def layer(inputs: int, outputs: int, taps: int = 1) -> int:
        return taps * inputs * outputs + outputs

    def residual(width: int, hidden: int) -> int:
        return layer(width, hidden, 9) + layer(hidden, width)

    trunk, knots, wide, e = model.trunk, model.knots, model.conditioning, model.embedding
    total = layer(48, trunk, 16) + layer(trunk, 48, 16) + 2 * residual(trunk, model.residual[0])
    total += residual(48, model.finish)
    finer = trunk
    for level in range(3):
        width, latents = model.features[level], model.latents[level]
        z = model.hyper_latents[level]
        total += layer(finer, width, 16) + layer(width, finer, 16)
        total += 2 * residual(width, model.residual[1 + level])
        total += layer(2 * width, latents) + layer(latents, width)
        total += layer(latents, model.hyper) + layer(model.hyper, model.hyper, 16)
        total += layer(model.hyper, z, 16)
        total += layer(9 * z + knots, 16 * wide) + layer(2 * latents, e)
        total += layer(9 * e + 2 * wide + knots + 4, model.hidden)
        total += layer(model.hidden, model.hidden) + 2 * layer(2 * model.hidden, latents)
        total += layer(9 * e + wide, 4 * wide) if level < 2 else 0
        starts = model.channel_groups[level]
        for start, end in zip(starts, (*starts, latents)[1:], strict=True):
            total += layer(2 * model.hidden + 2 * start, model.group_hidden)
            total += 2 * model.group_hidden * (end - start)
        total += knots * (latents + 2 * z) + latents  # gains, z_gain and z_index; units
        finer = width
    return total


@pytest.mark.parametrize("preset", [presets.standard, presets.mini])
def test_presets_have_the_parameters_of_their_layers(preset):
    count = registry.parameter_count(portable_params.shapes(preset()))
    assert count == counted_by_hand(preset())


def test_the_standard_network_is_small():
    assert registry.parameter_count(portable_params.shapes(presets.standard())) <= 6_500_000


@pytest.mark.parametrize(("grid", "noisy"), [((1, 1), False), ((3, 2), True)])
def test_coding_gives_a_map_of_bits_for_every_level_of_every_grid(grid, noisy):
    rows, columns = grid
    x = jax.ShapeDtypeStruct((2, 64 * rows, 64 * columns, 3), jnp.float32)
    masks = masks_of("random", grid, 2)
    coded = jax.eval_shape(
        lambda params, x: registry.code(
            MODEL, params, x, masks, jnp.zeros(2, jnp.int32),
            jax.random.split(jax.random.key(0), 2) if noisy else None,
        ),
        portable_params.shapes(MODEL), x,
    )  # fmt: skip
    assert coded.x_hat.shape == x.shape
    assert [b.shape for b in coded.y_bits] == [(2, n * rows, n * columns) for n in (4, 2, 1)]
    hyper = [(2, -(-n * rows // 4), -(-n * columns // 4)) for n in (4, 2, 1)]
    assert [b.shape for b in coded.z_bits] == hyper
    assert {leaf.dtype for leaf in jax.tree_util.tree_leaves(coded)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("kind", ["0", "1", "2", "random"])
def test_bits_are_counted_exactly_where_a_level_is_coded(images, kind):
    masks = masks_of(kind, batch=len(QUALITIES))
    coded = code(MODEL, portable_params.acting(MODEL), images, masks, QUALITIES)
    assert np.all(np.isfinite(coded.x_hat))
    for level, mask in enumerate(masks):
        y_bits, z_bits = np.asarray(coded.y_bits[level]), np.asarray(coded.z_bits[level])
        assert np.all(y_bits[~mask] == 0) and np.all(y_bits[mask] > 0)
        np.testing.assert_array_equal(z_bits > 0, np.asarray(partition.hyper_mask(mask)))
        assert np.all(np.isfinite(y_bits)) and np.all(np.isfinite(z_bits))


def moved(params: Any, *path: str) -> Any:
    """Parameters with the bias of one layer moved."""
    name, *rest = path
    if not rest:
        return {**params, name: {**params[name], "bias": params[name]["bias"] + 0.5}}
    return {**params, name: moved(params[name], *rest)}


@pytest.mark.parametrize("layer", [("to_latent",), ("prior", "to_mu"), ("prior", "embed")])
def test_where_a_level_is_not_coded_the_guess_of_the_coarser_levels_stands(images, layer):
    """Neither its latents nor what is predicted for them reach the image there."""
    params = portable_params.acting(MODEL)
    changed = moved(params, "units_0", *layer)
    for kind, reaches in (("2", False), ("0", True)):
        masks = masks_of(kind, batch=len(QUALITIES))
        a, b = (code(MODEL, p, images, masks, QUALITIES) for p in (params, changed))
        same = np.array_equal(a.x_hat, b.x_hat) and np.array_equal(a.y_bits[0], b.y_bits[0])
        assert same == (not reaches)


def test_at_the_start_rate_and_quality_rise_with_the_quality(images):
    masks = masks_of("0", batch=len(QUALITIES))
    coded = code(MODEL, portable_params.start(MODEL), images, masks, QUALITIES)
    bits = np.asarray(distortion.total_bits((coded.y_bits, coded.z_bits)))
    psnr = np.asarray(distortion.psnr(images, coded.x_hat))
    assert np.all(bits[1:] > 1.15 * bits[:-1])
    assert np.all(np.diff(psnr) > 0) and psnr[1] > psnr[0] + 0.3


def test_images_of_a_batch_are_coded_as_if_each_were_alone(images):
    params, masks = portable_params.acting(MODEL), masks_of("random", batch=len(QUALITIES))
    coded = code(MODEL, params, images, masks, QUALITIES)
    for example in (0, 3):
        only = np.full(len(QUALITIES), example)
        alone = code(MODEL, params, images, tuple(mask[only] for mask in masks), QUALITIES[only])
        np.testing.assert_allclose(alone.x_hat[0], coded.x_hat[example], atol=1e-4)
        for maps in ("y_bits", "z_bits"):
            for one, many in zip(getattr(alone, maps), getattr(coded, maps), strict=True):
                np.testing.assert_allclose(one[0], many[example], rtol=1e-4)


def test_the_coder_encodes_what_coding_all_levels_estimates(images, photograph):
    params, masks = portable_params.acting(MODEL), masks_of("random", batch=len(QUALITIES))
    coded = code(MODEL, params, images, masks, QUALITIES)
    example = 3
    plain = tuple(mask[example] for mask in masks)
    engine = jax_engine.JaxEngine(MODEL, params, QUALITIES[example : example + 1])
    coder = portable_coder.PortableLevelCoder(MODEL, engine, plain, (192, 256))
    coder.analyze(photograph)
    tables = distributions.scale_tables(MODEL.distribution)
    for level in (2, 1, 0):
        z, *y = (8 * len(range_coder.encode([run], tables))
                 for run in coder.encode_level(level, continues=True))  # fmt: skip
        for maps, sent in ((coded.z_bits, z), (coded.y_bits, sum(y))):
            estimated = float(jnp.sum(maps[level][example]))
            assert sent == pytest.approx(estimated, rel=0.01, abs=4 * 64)
    expected = np.asarray(distortion.to_8_bit(coded.x_hat))[example].astype(int)
    assert np.abs(coder.reconstruct().astype(int) - expected).max() <= 1


@functools.partial(jax.jit, compiler_options=portable_params.QUICKLY)
def slope(params: Any, x: jax.Array, coarser: jax.Array, mask: jax.Array, quality: jax.Array):
    """Gradient of rate and distortion at level 1, with noise; all levels have the same code."""
    keys = jnp.stack([quick_key(0)] * len(x))

    def through(network: portable.PortableRDONet, x: jax.Array) -> jax.Array:
        e = network.analyze(x)[1]
        state = portable.State(0.1 * e, coarser)
        state, y_bits, z_bits = network.code_level(e, state, mask, (keys, keys), quality, level=1)
        rate = distortion.bpp((y_bits, z_bits), x.shape[1] * x.shape[2])
        return jnp.mean(loss.relative_loss(rate + jnp.mean(state.d**2, axis=(1, 2, 3))))

    net = registry.family_of(MODEL).network(MODEL)
    return jax.grad(lambda p: net.apply({"params": p}, x, method=through))(params)


def test_gradients_are_finite_at_both_ends_of_quality_and_reach_every_layer(photograph):
    ends = np.array([0, MODEL.steps_of_quality], np.int32)
    x = np.repeat(photograph[None, :128, :128].astype(np.float32) / 255, 2, axis=0)
    inputs = 9 * MODEL.embedding + MODEL.conditioning
    coarser = np.random.default_rng(0).integers(-127, 128, (2, 2, 2, inputs)).astype(np.float32)
    mask = masks_of("random", (2, 2), 2)[1]
    found = slope(portable_params.acting(MODEL), x, coarser, mask, ends)
    moved = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.all(np.isfinite(leaf)), path
        names = [key.key for key in path]
        if np.abs(leaf).max():
            moved.add("/".join(names))
        elif names[0] == "units_1":
            assert names[1:] == ["prior", "unit"]  # which is fixed
    assert {"g_a/kernel", "units_0/encoder/kernel", "units_1/prior/from_coarser/kernel"} <= moved


def test_units_of_the_prior_do_not_move_but_gains_do():
    """Of two knots, only the one that a quality is near to has a gradient."""
    prior = portable_params.acting(MODEL)["units_0"]["prior"]

    @jax.jit
    def total(gain: jax.Array, unit: jax.Array) -> jax.Array:
        changed = {"params": {**prior, "gain": gain, "unit": unit}}
        level = integer_prior.LevelPrior(MODEL, 0)
        gains = level.apply(changed, jnp.array([0]), method="gains")
        return jnp.sum(gains) + jnp.sum(level.apply(changed, method="units"))

    gain, unit = jax.grad(total, argnums=(0, 1))(prior["gain"], prior["unit"])
    np.testing.assert_array_equal(unit, 0 * unit)
    assert np.all(gain[0] == 256) and np.all(gain[1:] == 0)


def test_there_is_one_module_for_a_configuration_however_it_is_asked_for():
    assert registry.family_of(MODEL).network(MODEL) is portable.network(presets.mini())
