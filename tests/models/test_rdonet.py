"""The network: its size, its levels in order, and the linear start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.core import partition, presets
from rdonet_jax.metrics import distortion
from rdonet_jax.metrics import loss as metrics_loss
from rdonet_jax.models import latents, registry
from rdonet_jax.models.rdonet import init as rdonet_init
from rdonet_jax.models.rdonet import network as rdonet
from tests import hasty_xla
from tests.conftest import quick_key

MASK_KINDS = ("uniform-16", "uniform-32", "uniform-64", "random")


def masks_of(kind, grid=(2, 2), batch=1):
    if kind == "random":
        return partition.level_masks(partition.random(jax.random.key(5), grid, (batch,)))
    level = partition.STRIDES.index(int(kind.removeprefix("uniform-")))
    return partition.level_masks(partition.uniform(level, grid, (batch,)))


@pytest.fixture(scope="module")
def network():
    preset = presets.tiny()
    params = rdonet.init_params(preset, quick_key(0))
    x = jax.random.uniform(jax.random.key(1), (1, 128, 128, 3))
    code = hasty_xla.reused(
        lambda params, x, masks, keys=None: rdonet.network(preset).apply(
            {"params": params}, x, masks, keys, method="code"
        )
    )
    return preset, params, x, code


def published_size(channels=192, hyper=(192, 192, 384), z=96, hidden=3):
    """Parameters by the table of the network's layers, counted by hand."""

    def conv(inputs, outputs):
        return 25 * inputs * outputs + outputs

    def gdn(width):
        return width * width + width

    trunk = conv(3, channels) + 2 * conv(channels, channels)
    synthesis = 2 * conv(channels, channels) + conv(channels, 3)
    encoder = conv(channels, channels)
    latent = conv(2 * channels, channels)
    hand_over = conv(2 * channels, channels)
    hyper_encoder = conv(2 * channels, hyper[0]) + gdn(hyper[0]) + conv(hyper[0], z)
    hyper_decoder = conv(z, hyper[1]) + gdn(hyper[1]) + conv(hyper[1], hyper[2]) + gdn(hyper[2])
    hyper_decoder += conv(hyper[2] + channels, 2 * channels)
    # Per channel of z: four taps to the hidden units, four taps from each of them to (mu, scale).
    causal = z * ((4 + 1) * hidden + 4 * hidden * 2 + 2)
    unit = encoder + latent + hand_over + hyper_encoder + hyper_decoder + causal
    return trunk + synthesis + 3 * unit


def test_the_paper_preset_has_the_published_networks_parameters():
    shapes = jax.eval_shape(lambda: rdonet.init_params(presets.paper(), jax.random.key(0)))
    assert registry.parameter_count(shapes) == published_size() == 48_636_099


def test_the_small_preset_has_the_structure_of_the_paper_preset():
    trees = [
        jax.eval_shape(lambda p=preset: rdonet.init_params(p, jax.random.key(0)))
        for preset in (presets.paper(), presets.small())
    ]
    assert jax.tree_util.tree_structure(trees[0]) == jax.tree_util.tree_structure(trees[1])
    assert registry.parameter_count(trees[1]) < 8_000_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", MASK_KINDS)
def test_bits_are_counted_exactly_where_a_level_is_coded(network, kind):
    _, params, x, code = network
    masks = masks_of(kind)
    coded = code(params, x, masks)
    for level in range(3):
        y_bits, mask = coded.y_bits[level], masks[level]
        assert y_bits.shape == mask.shape
        assert np.all(np.asarray(y_bits)[~np.asarray(mask)] == 0)
        assert np.all(np.asarray(y_bits)[np.asarray(mask)] > 0)
        hyper = np.asarray(partition.hyper_mask(mask))
        np.testing.assert_array_equal(np.asarray(coded.z_bits[level]) > 0, hyper)


@pytest.mark.slow
def test_what_a_masked_level_would_have_coded_does_not_reach_the_image(network):
    _, params, x, code = network
    masks = masks_of("uniform-64")
    changed = jax.tree_util.tree_map(lambda leaf: leaf, params)
    for level in (0, 1):
        # Other latents at the masked levels, the same priors.
        unit = dict(changed[f"units_{level}"])
        unit["to_latent"] = jax.tree_util.tree_map(lambda leaf: leaf + 1.0, unit["to_latent"])
        changed = {**changed, f"units_{level}": unit}
    np.testing.assert_array_equal(code(params, x, masks).x_hat, code(changed, x, masks).x_hat)


@pytest.mark.slow
def test_single_steps_give_what_coding_all_levels_gives(network):
    preset, params, x, code = network
    masks = masks_of("random")

    def estimate(params, x, masks):
        def step(method, *arguments):
            return rdonet.network(preset).apply({"params": params}, *arguments, method=method)

        features = step("analyze", x)
        state = step("initial_state", 1, (2, 2))
        for level in (2, 1, 0):
            y, z = step("latent", level, features[level], state)
            z_hat = jnp.round(z) * partition.hyper_mask(masks[level])[..., None]
            prior = step("predict_y", level, z_hat, state)
            y_hat = rdonet.select(masks[level], prior.mu + jnp.round(y - prior.mu), prior.mu)
            state = step("next_state", level, y_hat, state)
        return step("synthesize", state)

    found = hasty_xla.jit(estimate)(params, x, masks)
    np.testing.assert_allclose(found, code(params, x, masks).x_hat, atol=1e-5)


@pytest.mark.slow
def test_encoder_features_and_the_coarsest_latent_do_not_depend_on_the_mask(network):
    preset, params, x, _ = network
    net = rdonet.network(preset)
    features = net.apply({"params": params}, x, method="analyze")
    state = net.apply({"params": params}, 1, (2, 2), method="initial_state")
    y, _ = net.apply({"params": params}, 2, features[2], state, method="latent")
    assert not np.any(np.asarray(state))
    assert np.any(np.asarray(y)), "the coarsest latent must come from the image alone"


@pytest.mark.slow
def test_noise_bits_are_close_to_rounded_bits_on_average(network):
    preset, params, x, code = network
    params = rdonet_init.linear_start(params, preset, 0.0067)
    x = jax.image.resize(x[:, :16, :16], x.shape, "cubic")
    masks = masks_of("uniform-16")
    rounded = code(params, x, masks)
    keys = jax.random.split(jax.random.key(2), 8)
    noisy = code(params, jnp.repeat(x, 8, 0), masks_of("uniform-16", batch=8), keys)
    ratio = float(jnp.sum(noisy.y_bits[0])) / 8 / float(jnp.sum(rounded.y_bits[0]))
    assert 0.9 < ratio < 1.3


@pytest.mark.slow
def test_one_example_is_the_same_alone_and_in_a_batch(network):
    _, params, x, code = network
    batch = jnp.concatenate([x, x[:, ::-1], 1 - x])
    keys = jax.random.split(jax.random.key(3), 3)
    together = code(params, batch, masks_of("uniform-16", batch=3), keys)
    alone = code(params, batch[1:2], masks_of("uniform-16"), keys[1:2])
    np.testing.assert_allclose(together.x_hat[1:2], alone.x_hat, atol=1e-5)
    np.testing.assert_allclose(together.y_bits[0][1:2], alone.y_bits[0], rtol=1e-3, atol=1e-2)


@pytest.mark.slow
def test_every_parameter_gets_a_finite_gradient_when_every_level_codes(network, photograph):
    preset, params, x, _ = network
    params = rdonet_init.linear_start(params, preset, 0.4)  # latents large enough not to round to 0
    x = jnp.asarray(photograph[None, :128, :128], jnp.float32) / 255.0
    masks = masks_of("random", grid=(2, 2))
    assert all(np.asarray(m).any() for m in masks)

    def loss(params):
        coded = rdonet.network(preset).apply(
            {"params": params}, x, masks, jax.random.split(jax.random.key(0), 1), method="code"
        )
        bpp = distortion.bpp((coded.y_bits, coded.z_bits), x.shape[1] * x.shape[2])
        return jnp.sum(metrics_loss.rd_loss(bpp, x, coded.x_hat, 0.01, "mse"))

    gradients = hasty_xla.jit(jax.grad(loss))(params)
    silent = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.all(np.isfinite(leaf)) or not np.any(np.asarray(leaf) != 0)
    ]
    # The single hyper-latents of levels 1 and 2 have no neighbors to learn from, and hidden
    # units do not matter while the outputs are still zero.
    alone = [f"['units_{n}']['hyper_prior']['{w}']" for n in (1, 2) for w in ("hidden", "output")]
    expected = [*alone, *(f"['units_{n}']['hyper_prior']['hidden_bias']" for n in range(3))]
    assert sorted(silent) == sorted([*expected, "['units_0']['hyper_prior']['hidden']"])


@pytest.mark.parametrize("distribution", ["laplace", "gaussian"])
def test_scales_stay_within_the_tables_range(distribution):
    preset = presets.tiny(distribution=distribution)
    net = rdonet.network(preset)
    scales = net.apply({}, jnp.array([-1e4, -3.0, 0.0, 50.0]), method="scale_from_raw")
    assert float(scales.min()) == pytest.approx(latents.min_scale(preset.distribution))
    assert np.all(np.diff(scales) >= 0)


def test_the_linear_transform_is_orthonormal_and_keeps_the_strongest_directions():
    for stage in rdonet_init.klt_stages((12, 20, 16)):
        rows = stage.weights.reshape(len(stage.weights), -1)
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-10)
        assert np.all(np.diff(stage.variances) <= 1e-12)


def test_a_complete_linear_transform_keeps_the_images_energy():
    # 12 directions of 2×2 pixels in three colors are all there are.
    (stage,) = rdonet_init.klt_stages((12,))
    rows = stage.weights.reshape(12, 12)
    np.testing.assert_allclose(rows.T @ rows, np.eye(12), atol=1e-10)


@pytest.mark.slow
def test_the_linear_start_is_a_working_coder_at_every_level(photograph):
    preset = presets.small()
    params = rdonet_init.linear_start(rdonet.init_params(preset, quick_key(0)), preset, 0.0067)
    x = jnp.asarray(photograph[None, :128, :128], jnp.float32) / 255.0
    code = hasty_xla.reused(
        lambda masks: rdonet.network(preset).apply({"params": params}, x, masks, method="code")
    )
    quality = [
        float(distortion.psnr(x, code(masks_of(kind)).x_hat)[0])
        for kind in ("uniform-16", "uniform-32", "uniform-64")
    ]
    flat = float(distortion.psnr(x, jnp.broadcast_to(x.mean((1, 2)), x.shape))[0])
    assert quality[0] > quality[1] > quality[2] > flat
    assert quality[0] > flat + 8


def linear_start(preset):
    """The linear start without any random share, which predicts zero for all latents."""
    shapes = jax.eval_shape(lambda: rdonet.init_params(preset, jax.random.key(0)))
    zeros = jax.tree_util.tree_map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    return rdonet_init.linear_start(zeros, preset, 0.1)


@pytest.mark.slow
def test_channels_beyond_the_directions_leave_the_linear_start_as_it_is(photograph):
    """Odd widths, and a stage of more than four times the channels of the one before."""
    x = jnp.asarray(photograph[None, :128, :128], jnp.float32) / 255.0
    masks = masks_of("random")
    images = []
    for preset in (
        presets.tiny(trunk=(8, 12, 16), features=(16, 64, 16)),
        presets.tiny(trunk=(9, 13, 17), features=(17, 81, 17)),
    ):
        net = rdonet.network(preset)
        code = hasty_xla.jit(
            lambda params, net=net: net.apply({"params": params}, x, masks, method="code")
        )
        images.append(code(linear_start(preset)).x_hat)
    np.testing.assert_allclose(*images, atol=1e-3)


def test_the_linear_start_can_be_made_for_a_single_channel():
    params = linear_start(presets.tiny(trunk=(1, 1, 1), features=(1, 1, 1), latents=(1, 2, 1)))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree_util.tree_leaves(params))
