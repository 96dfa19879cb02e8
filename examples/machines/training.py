"""Trains the detector on crops of photographs, in a minute or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.machines import scenes
from examples.machines.detector import STRIDE, Detector, Network
from examples.machines.scenes import CLASSES, Digit
from rdonet_jax.runtime import compilation

CROP = 80
BATCH = 16
RATE = 4e-3
"""The largest step of Adam; the schedule rises to it and falls to nothing."""

SPREAD = 0.8
"""Standard deviation of the targets around a center, in positions."""

REPORT_EVERY = 100


def trained(
    steps: int, seed: int, width: int = 32, report: Callable[[str], None] = print
) -> Detector:
    """A detector after so many steps on crops of the photographs for training."""
    rng = np.random.default_rng(seed)
    params = Network(width).init(jax.random.key(seed), jnp.zeros((1, CROP, CROP, 3)))["params"]
    schedule = optax.cosine_onecycle_schedule(steps, RATE)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    state = optimizer.init(params)

    @compilation.jit
    def step(params: Any, state: Any, x: jax.Array, target: jax.Array) -> tuple[Any, Any, Any]:
        def loss(params: Any) -> jax.Array:
            return focal_loss(Network(width).apply({"params": params}, x / 255.0), target)

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    for number in range(1, steps + 1):
        crops = [scenes.training_crop(rng, CROP) for _ in range(BATCH)]
        x = np.stack([pixels for pixels, _ in crops]).astype(np.float32)
        target = np.stack([targets(digits, CROP // STRIDE) for _, digits in crops])
        params, state, value = step(params, state, x, target)
        if number % REPORT_EVERY == 0:
            report(f"  step {number} of {steps}: loss {float(value):.3f}")
    return Detector(params, width)


def targets(digits: Sequence[Digit], side: int) -> np.ndarray:
    """What the scores [side, side, classes] should be: 1 at a center, falling off around it."""
    found = np.zeros((side, side, CLASSES), np.float32)
    positions = np.arange(side)
    for digit in digits:
        row, column = (min(int(center / STRIDE), side - 1) for center in (digit.row, digit.column))
        rows, columns = (np.square(positions - center) for center in (row, column))
        peak = np.exp(-(rows[:, None] + columns) / (2 * SPREAD**2))
        found[..., digit.value] = np.maximum(found[..., digit.value], peak)
    return found


def focal_loss(logits: jax.Array, target: jax.Array) -> jax.Array:
    """The loss of "Objects as points", per digit."""
    is_center = target == 1.0
    score = jax.nn.sigmoid(logits)
    center = jnp.square(1 - score) * -jax.nn.log_sigmoid(logits)
    elsewhere = (1 - target) ** 4 * jnp.square(score) * -jax.nn.log_sigmoid(-logits)
    total = jnp.sum(jnp.where(is_center, center, elsewhere))
    return total / jnp.maximum(jnp.sum(is_center), 1)
