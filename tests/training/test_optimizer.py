"""The step size over both stages, and what Adam carries over from one to the other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdonet_jax.core import presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.training import config as training_config
from rdonet_jax.training.optimizers import optimizer
from tests import portable_params

MINI = presets.mini()


def rates(schedule: training_config.TrainingConfig) -> np.ndarray:
    rate = optimizer.learning_rate(schedule)
    return np.array([float(rate(step)) for step in range(schedule.steps)])


def schedule(**changes) -> training_config.TrainingConfig:
    given = {"stage1_steps": 80, "stage2_steps": 20, "warmup_steps": 10, "learning_rate": 1e-2,
             "final_rate": 0.1, "clip_norm": 1e9}  # fmt: skip
    return training_config.TrainingConfig(**(given | changes))


@pytest.mark.parametrize("name", training_config.CHOICES["schedule"])
def test_the_step_size_warms_up_to_its_peak_and_falls_over_both_stages(name):
    sizes = rates(schedule(schedule=name))
    np.testing.assert_allclose(sizes[:10], np.linspace(1e-3, 1e-2, 11)[:10], rtol=1e-5)
    assert sizes[10] == pytest.approx(1e-2)
    assert np.all(np.diff(sizes[10:]) <= 1e-9)


def test_each_schedule_has_the_shape_of_its_name():
    at = np.arange(90) / 90  # the share of the decay that is done
    expected = {
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * at)) / 2,
        "linear": 1 - 0.9 * at,
        "exponential": 0.1**at,
        "constant": np.ones(90),
    }
    for name, shape in expected.items():
        np.testing.assert_allclose(rates(schedule(schedule=name))[10:], 1e-2 * shape, rtol=1e-4)


def test_with_restart_each_stage_has_a_warm_up_and_a_decay():
    sizes = rates(schedule(switch="restart", stage2_rate=0.5))
    np.testing.assert_allclose(
        sizes[:80], rates(schedule(stage1_steps=80, stage2_steps=0)), rtol=1e-6
    )
    alone = rates(schedule(stage1_steps=0, stage2_steps=20))
    np.testing.assert_allclose(sizes[80:], 0.5 * alone, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 20, 100])
def test_a_warm_up_as_long_as_the_run_is_a_tenth_of_it(steps):
    short = {"stage1_steps": 0, "stage2_steps": steps}
    sizes = rates(schedule(**short, warmup_steps=100))
    np.testing.assert_array_equal(sizes, rates(schedule(**short, warmup_steps=steps // 10)))
    assert np.argmax(sizes) <= steps // 10 and np.all(np.isfinite(sizes))


def updates(made: optax.GradientTransformation, steps: int) -> np.ndarray:
    """Sizes of the updates for the gradients 1, 2, 3, ..."""
    params = {"w": jnp.zeros(())}
    state = made.init(params)
    sizes = []
    for step in range(steps):
        update, state = made.update({"w": jnp.float32(step + 1)}, state, params)
        sizes.append(float(update["w"]))
    return np.array(sizes)


def test_the_optimizer_is_optax_adam_with_the_schedule():
    made = schedule()
    expected = updates(optax.adam(optimizer.learning_rate(made)), 100)
    np.testing.assert_allclose(updates(optimizer.make(MINI, made), 100), expected, rtol=1e-6)


def test_a_restart_begins_adam_anew_and_a_carried_switch_does_not():
    flat = {"schedule": "constant", "warmup_steps": 0, "stage1_steps": 5, "stage2_steps": 5}
    carried = updates(optimizer.make(MINI, schedule(**flat)), 10)
    restarted = updates(optimizer.make(MINI, schedule(switch="restart", **flat)), 10)
    np.testing.assert_array_equal(carried[:5], restarted[:5])
    # The first step of Adam has the size of the step size, whatever the gradient.
    assert restarted[5] == pytest.approx(-1e-2, rel=1e-4)
    assert carried[5] != pytest.approx(-1e-2, rel=1e-2)


def test_the_gradient_is_clipped_by_its_global_norm():
    made = optimizer.make(MINI, schedule(clip_norm=1.0))
    params = {"a": jnp.float32(1.0), "b": jnp.float32(-2.0)}
    state = made.init(params)
    _, state = made.update({"a": jnp.float32(3.0), "b": jnp.float32(4.0)}, state, params)
    moments = next(part for part in state if hasattr(part, "mu")).mu
    assert float(moments["a"]) == pytest.approx(0.1 * 0.6)
    assert float(moments["b"]) == pytest.approx(0.1 * 0.8)


def by_path(tree) -> dict[str, bool]:
    """The leaves of a tree of dicts by their names, joined by slashes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): leaf for path, leaf in leaves}


def test_the_prior_holds_what_predicts_probabilities_and_not_what_makes_the_image():
    belongs = by_path(optimizer.prior_mask(MINI, portable_params.shapes(MINI)))
    image = {"g_a", "g_a_refine", "g_s", "g_s_restore", "g_s_finish", "encoder", "refine",
               "to_latent", "from_latent", "restore", "hand_over"}  # fmt: skip
    for path, prior in belongs.items():
        names = path.split("/")
        part = names[1] if names[0].startswith("units") else names[0]
        assert prior == (part not in image and path.split("/", 1)[1] != "prior/gain"), path
    for name in ("first/kernel", "embed/bias", "from_z/kernel", "z_index"):
        assert belongs[f"units_0/prior/{name}"]
    assert belongs["units_2/z_gain"] and belongs["units_2/hyper_encoder/third/kernel"]
    assert not belongs["units_1/prior/gain"]


def test_what_decodes_is_the_prior_and_the_synthesis_that_no_symbol_depends_on():
    params = portable_params.shapes(MINI)
    prior = by_path(optimizer.prior_mask(MINI, params))
    learns = by_path(optimizer.trainable_mask(MINI, params, "decoder"))
    assert {path for path, is_prior in prior.items() if is_prior} <= set(learns)
    more = {path.rpartition("/")[0] for path in learns if learns[path] and not prior[path]}
    assert more == {
        "g_s", "g_s_restore", "g_s_restore/out", "g_s_finish", "g_s_finish/out",
        "units_0/from_latent", "units_0/restore", "units_0/restore/out", "units_0/hand_over",
    }  # fmt: skip
    assert all(by_path(optimizer.trainable_mask(MINI, params, "all")).values())
    assert by_path(optimizer.trainable_mask(MINI, params, "priors")) == prior


@pytest.mark.parametrize("preset", ["tiny", "mbt2018-tiny"])
def test_a_network_without_separate_priors_has_no_mask_for_them(preset):
    network_config, params = presets.preset(preset), {"g_a": {"kernel": jnp.zeros(())}}
    assert by_path(optimizer.trainable_mask(network_config, params, "all")) == {"g_a/kernel": True}
    with pytest.raises(ConfigError, match="are not trained alone"):
        optimizer.prior_mask(network_config, params)
    with pytest.raises(ConfigError, match="are not trained alone"):
        optimizer.trainable_mask(network_config, params, "decoder")


def test_the_prior_moves_faster_by_its_own_rate():
    params = {"units_0": {"prior": {"gain": jnp.zeros(()), "unit": jnp.zeros(())},
                          "encoder": {"kernel": jnp.zeros(())}}}  # fmt: skip
    slopes = jax.tree_util.tree_map(jnp.ones_like, params)
    moves = []
    for rate in (1.0, 5.0):
        made = optimizer.make(MINI, schedule(prior_rate=rate, warmup_steps=0))
        update, _ = made.update(slopes, made.init(params), params)
        moves.append(by_path(update))
    plain, fast = moves
    for path in plain:
        ratio = float(fast[path]) / float(plain[path])
        assert ratio == pytest.approx(5.0 if path == "units_0/prior/unit" else 1.0)
