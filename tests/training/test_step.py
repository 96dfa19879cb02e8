"""The training step: precision, accumulation, and the state after a bad step."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from jax.flatten_util import ravel_pytree

from rdonet_jax.core import config, partition, presets
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.training import config as training_config
from rdonet_jax.training import precision as training_precision
from rdonet_jax.training import sharding
from rdonet_jax.training.batches.crops import Batch
from rdonet_jax.training.optimizers import optimizer
from rdonet_jax.training.steps import draws, train_state
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps.step import CropLosses
from tests import hasty_xla, portable_params

TINY = presets.tiny()


@pytest.fixture(scope="module")
def crops() -> Batch:
    """Four crops of a photograph, 64x64."""
    image = skimage.data.astronaut()
    cut = [image[at : at + 64, 2 * at : 2 * at + 64] for at in (0, 60, 120, 180)]
    return Batch(np.arange(4, dtype=np.int32), np.stack(cut))


@pytest.fixture(scope="module")
def gradients(crops, tiny_model):
    """A function of training options: means of a step, and its gradients as one vector."""

    @functools.cache
    def result(**options):
        config = training_config.TrainingConfig(crop=64, batch_size=4, **options)
        state = train_state.state_of(tiny_model.config, config, tiny_model.params)
        function = functools.partial(training_step.mean_gradients, tiny_model.config, config)
        means, found = hasty_xla.jit(function)(state, crops, 0)
        return means, np.asarray(ravel_pytree(found)[0])

    return result


FLOAT32, BFLOAT16 = 2.0**-24, 2.0**-9
"""What one rounding to the nearest changes at most, relatively."""

ADDED = 4 * 64 * 64 * 3
"""How many numbers a mean over the crops adds up; each addition rounds."""


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch(gradients):
    means, whole = gradients()
    accumulated_means, accumulated = gradients(accumulate=4)
    np.testing.assert_allclose(accumulated_means, means, rtol=ADDED * FLOAT32)
    assert relative_difference(accumulated, whole) < ADDED * FLOAT32


@pytest.mark.slow
def test_rematerialisation_changes_no_number(gradients):
    means, kept = gradients()
    other_means, computed_anew = gradients(remat=True)
    np.testing.assert_allclose(other_means, means, rtol=ADDED * FLOAT32)
    assert relative_difference(computed_anew, kept) < ADDED * FLOAT32


@pytest.mark.slow
def test_rematerialisation_keeps_less_than_half_for_the_backward_pass(tiny_model):
    """Counted on what is handed to the backward pass; compilers for CPUs do not save by it."""

    batch = Batch(np.zeros(4, np.int32), np.zeros((4, 256, 256, 3), np.uint8))

    def kept_bytes(remat: bool) -> int:
        config = training_config.TrainingConfig(batch_size=4, remat=remat)

        def backward(params):
            return jax.vjp(
                lambda p: training_step.code_crops(tiny_model.config, config, p, 0, batch, 0).loss,
                params,
            )[1]

        residuals = jax.tree_util.tree_leaves(jax.eval_shape(backward, tiny_model.params))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in residuals)

    assert kept_bytes(True) < 0.5 * kept_bytes(False)


@pytest.mark.slow
def test_bfloat16_changes_the_loss_a_little_and_keeps_float32_results(gradients, crops, tiny_model):
    means, full = gradients()
    half_means, half = gradients(precision="bfloat16")
    assert half.dtype == np.float32 and all(mean.dtype == jnp.float32 for mean in half_means)
    # Each convolution rounds its input, its kernel and its result; processors may round less.
    config = training_config.TrainingConfig(crop=64, batch_size=4, precision="bfloat16")
    forward = jax.make_jaxpr(
        lambda params: training_step.code_crops(tiny_model.config, config, params, 0, crops, 0)
    )(tiny_model.params)
    rounded = 3 * sum(1 for _ in operations(forward.jaxpr, "conv_general_dilated"))
    assert 0 < rounded * BFLOAT16 < 0.5
    np.testing.assert_allclose(half_means, means, rtol=rounded * BFLOAT16)
    # Nearer to the gradient than its own length, so a small step against it lowers the loss.
    assert 0 < relative_difference(half, full) < 1


def operations(jaxpr, name):
    """All equations of a kind, also inside of others."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == name:
            yield equation
        for value in jax.tree_util.tree_leaves(list(equation.params.values())):
            if hasattr(value, "jaxpr"):
                yield from operations(value.jaxpr, name)
            elif hasattr(value, "eqns"):
                yield from operations(value, name)


def dtypes(jaxpr, name):
    return {variable.aval.dtype for e in operations(jaxpr, name) for variable in e.invars[:1]}


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_precision_is_that_of_the_convolutions_and_never_of_rounding_or_likelihoods(
    crops, tiny_model, precision
):
    config = training_config.TrainingConfig(crop=64, batch_size=4, precision=precision)
    traced = jax.make_jaxpr(
        lambda params: training_step.code_crops(tiny_model.config, config, params, 0, crops, 0).loss
    )(tiny_model.params).jaxpr
    assert dtypes(traced, "conv_general_dilated") == {jnp.dtype(precision)}
    for name in ("round", "exp", "log", "dot_general"):
        assert dtypes(traced, name) <= {jnp.dtype("float32"), jnp.dtype("int32")}
    assert dtypes(traced, "round") == {jnp.dtype("float32")}


def test_auto_precision_is_float32_on_cpus_and_bfloat16_elsewhere(monkeypatch):
    config = training_config.TrainingConfig()
    assert training_precision.compute_dtype(config) == jnp.float32
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert training_precision.compute_dtype(config) == jnp.bfloat16


@pytest.fixture
def counting_step(monkeypatch):
    """A step whose loss is that of a single parameter, not finite for crops that are white."""

    def code_crops(network_config, config, params, step, batch, position):
        white = jnp.all(batch.crops == 255, axis=(1, 2, 3))
        loss = jnp.square(params["w"] - 1.0) + jnp.where(white, jnp.nan, 0.0)
        return CropLosses(loss, loss, jnp.zeros_like(loss))

    monkeypatch.setattr(training_step, "code_crops", code_crops)
    config = training_config.TrainingConfig(stage1_steps=2, stage2_steps=4, warmup_steps=0)
    state = train_state.state_of(TINY, config, {"w": jnp.zeros(())})
    return config, training_step.make_step(TINY, config), sharding.replicate(state)


def gray(level: int) -> Batch:
    devices = jax.local_device_count()
    crops = np.full((devices, 2, 64, 64, 3), level, np.uint8)
    return Batch(np.zeros((devices, 2), np.int32), crops)


def test_a_step_that_is_not_finite_and_those_after_it_leave_the_state_as_it_was(counting_step):
    _, step, state = counting_step
    state, metrics = step(state, gray(7), np.float32(0))
    assert bool(metrics.healthy[0])
    before = sharding.unreplicate(state)
    state, metrics = step(state, gray(255), np.float32(0))
    assert not bool(metrics.healthy[0]) and np.isnan(metrics.values.loss[0])
    state, metrics = step(state, gray(7), np.float32(0))
    assert not bool(metrics.healthy[0]) and np.isfinite(metrics.values.loss[0])
    after = sharding.unreplicate(state)
    jax.tree_util.tree_map(
        np.testing.assert_array_equal, before, after._replace(healthy=before.healthy)
    )
    assert int(after.step) == 1 and not after.healthy


def test_the_metrics_of_a_step_have_its_learning_rate(counting_step):
    schedule, step, state = counting_step
    rate = optimizer.learning_rate(schedule)
    for number in range(4):
        state, metrics = step(state, gray(7), np.float32(number))
        assert float(metrics.values.learning_rate[0]) == pytest.approx(
            float(rate(number)), rel=1e-5
        )


def test_a_step_is_compiled_once_for_both_stages(counting_step):
    _, step, state = counting_step
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    state, _ = step(state, gray(7), np.float32(0))
    assert compiled
    compiled.clear()
    for position in (1, 2.5, 3.999):  # of either stage, by steps or by the clock
        state, _ = step(state, gray(7), np.float32(position))
    assert not compiled


def test_the_average_follows_the_parameters():
    config = training_config.TrainingConfig(ema_decay=0.15, clip_norm=1.0)
    state = train_state.state_of(TINY, config, {"a": jnp.float32(1.0), "b": jnp.float32(-2.0)})
    gradients = {"a": jnp.float32(3.0), "b": jnp.float32(4.0)}
    first = training_step.apply_update(TINY, config, state, gradients, 0)
    second = training_step.apply_update(TINY, config, first, gradients, 1)
    for name, start in (("a", 1.0), ("b", -2.0)):
        assert float(first.params[name]) != start
        expected = 0.1 * start + 0.9 * float(first.params[name])
        assert float(first.ema[name]) == pytest.approx(expected, rel=8 * FLOAT32)
        expected = 0.15 * expected + 0.85 * float(second.params[name])
        assert float(second.ema[name]) == pytest.approx(expected, rel=8 * FLOAT32)


@pytest.mark.parametrize(
    ("devices", "parts", "divides"),
    [(3, 1, False), (4, 1, True), (4, 2, True), (4, 4, False)],
)
def test_a_batch_must_divide_over_devices_and_their_parts(monkeypatch, devices, parts, divides):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    schedule = training_config.TrainingConfig(batch_size=8, accumulate=parts)
    if divides:
        sharding.require_divisible(schedule)
    else:
        with pytest.raises(config.ConfigError, match=f"{devices} devices"):
            sharding.require_divisible(schedule)


@pytest.mark.slow
def test_a_portable_networks_crops_have_masks_and_lambdas_of_their_own_quality(photograph):
    network_config, schedule = (
        presets.mini(),
        training_config.TrainingConfig(stage1_steps=0, crop=128),
    )
    crop = photograph[:128, :128].astype(np.float32) / 255
    x = jnp.asarray(np.stack([crop, crop]))
    keys = jax.random.split(jax.random.key(0), 2)
    quality = jnp.asarray([0, network_config.steps_of_quality])
    masks = draws.masks_of_step(network_config, schedule, jnp.int32(1), x, quality, keys)
    for number, thresholds in enumerate(
        (network_config.thresholds[0], network_config.thresholds[-1])
    ):
        expected = partition.level_masks(partition.variance(x[number], thresholds))
        for level in range(3):
            np.testing.assert_array_equal(masks[level][number], expected[level])
    assert np.sum(masks[0][0]) < np.sum(masks[0][1])

    bpp, x_hat = jnp.asarray([0.5, 0.5]), x + 0.01
    losses = training_step.weighted_loss(network_config, schedule, bpp, x, x_hat, quality)
    costs = 0.5 + np.array(network_config.lmbdas) * 2.55**2
    np.testing.assert_allclose(losses, np.log(costs), rtol=1e-4)


@pytest.mark.slow
def test_the_rounded_rate_is_that_of_the_symbols_without_noise(monkeypatch):
    keys_of = {}
    code = registry.code

    def recorded(network_config, params, x, levels, quality, keys, *rest):
        keys_of[len(keys_of)] = keys
        return code(network_config, params, x, levels, quality, keys, *rest)

    monkeypatch.setattr(registry, "code", recorded)
    network_config, params = presets.mini(), portable_params.acting(presets.mini())
    for rate in ("noisy", "rounded"):
        config = training_config.TrainingConfig(crop=64, rate=rate, cut_share=0.0)
        jax.eval_shape(
            lambda p, s=config: training_step.code_crops(
                network_config,
                s,
                p,
                jnp.zeros((), jnp.int32),
                sharding.unsharded(gray(0)),
                jnp.zeros(()),
            ),
            params,
        )
    assert keys_of[0] is not None and keys_of[1] is None


def test_the_loss_of_a_portable_network_weighs_both_distortions_by_each_crops_lambda():
    network_config = presets.mini()
    x = skimage.data.astronaut()[None, :192, :192].astype(np.float32).repeat(2, axis=0) / 255
    x_hat = np.clip(x + np.random.default_rng(0).normal(0, 0.05, x.shape), 0, 1).astype(np.float32)
    squares = 255**2 * np.mean((x - x_hat) ** 2, axis=(1, 2, 3))
    dissimilarity = 1 - np.asarray(distortion.ms_ssim(x, x_hat))
    config = training_config.TrainingConfig(metric="both", ms_ssim_share=0.25)
    quality = np.array([0, network_config.steps_of_quality])
    found = training_step.weighted_loss(
        network_config, config, jnp.array([0.5, 2.0]), x, x_hat, quality
    )
    mixed = 0.75 * squares + 0.25 * 8.73 / 0.0067 * dissimilarity
    expected = np.log(np.array([0.5, 2.0]) + np.array(network_config.lmbdas) * mixed)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_what_a_crop_holds_beyond_its_image_changes_no_loss(crops, tiny_model):
    """Nor does it count: the rate is per pixel of the image."""
    config = training_config.TrainingConfig(crop=64, batch_size=4, cut_share=1.0)
    keys = jax.vmap(jax.random.split)(draws.crop_keys(config, jnp.int32(0), crops.numbers))
    sizes = np.asarray(draws.sizes_of_step(config, keys[:, 0], (64, 64)))
    other = crops.crops.copy()
    for crop, (rows, columns) in zip(other, sizes, strict=True):
        crop[rows:], crop[:, columns:] = 77, 200
    assert np.any(other != crops.crops)
    losses = hasty_xla.jit(functools.partial(training_step.code_crops, tiny_model.config, config))
    found = [losses(tiny_model.params, 0, crops._replace(crops=c), 0) for c in (crops.crops, other)]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert np.all(np.isfinite(ours))
