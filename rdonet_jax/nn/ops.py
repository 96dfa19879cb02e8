"""Small pure functions on NHWC arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_jvp
def straight_through_round(x: jax.Array) -> jax.Array:
    """round(x) in the forward pass, half to even; the identity in the gradient."""
    return jax.lax.round(x, jax.lax.RoundingMethod.TO_NEAREST_EVEN)


@straight_through_round.defjvp
def _straight_through_round_jvp(primals, tangents):
    return straight_through_round(primals[0]), tangents[0]


@jax.custom_jvp
def straight_through(value: jax.Array, x: jax.Array) -> jax.Array:
    """`value` in the forward pass; in the gradient as if it were x, of the same shape."""
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[0], tangents[1]


def uniform_noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Noise in [-1/2, 1/2) of `shape` per key: keys [B] -> float32 [B, *shape].

    One key per example makes an example's noise independent of how a batch is split over devices.
    """
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-0.5, maxval=0.5))(keys)


@jax.custom_vjp
def lower_bound(x: jax.Array, bound: float) -> jax.Array:
    """max(x, bound). Below the bound, gradients that increase x pass.

    So a parameter below its bound can return (Ballé et al. 2018, https://arxiv.org/abs/1802.01436,
    `lower_bound` in TensorFlow Compression).
    """
    return jnp.maximum(x, bound)


def _lower_bound_forward(x, bound):
    return jnp.maximum(x, bound), (x, bound)


def _lower_bound_backward(residual, gradient):
    x, bound = residual
    passes = (x >= bound) | (gradient < 0)
    return jnp.where(passes, gradient, 0.0), None


lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., C] + bias [C].

    The gradient of the bias is a matrix product with ones. As a plain sum, XLA would fuse it with
    the computation of its terms, which CPUs then repeat one number at a time.
    """
    return x + bias


def _add_bias_forward(x, bias):
    return x + bias, None


def _add_bias_backward(_, gradient):
    flat = gradient.reshape(-1, gradient.shape[-1])
    return gradient, (jnp.ones((1, len(flat)), flat.dtype) @ flat)[0]


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Pad [B, H, W, C] with zeros at the bottom and the right to multiples of `multiple`."""
    bottom, right = (-x.shape[1]) % multiple, (-x.shape[2]) % multiple
    if not (bottom or right):
        return x
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)))


def zero_beyond(x: jax.Array, extent: jax.Array) -> jax.Array:
    """x [B, H, W, C] within its first `extent` = (rows, columns), int32 [2]; 0 elsewhere."""
    rows, columns = (jnp.arange(side) < end for side, end in zip(x.shape[1:3], extent, strict=True))
    return jnp.where(rows[:, None, None] & columns[:, None], x, 0.0)


def space_to_depth(x: jax.Array, side: int = 2) -> jax.Array:
    """[B, H, W, C] -> [B, H/side, W/side, side² C]; the channel is (row phase, column phase, C)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // side, w // side, side**2 * c)


def depth_to_space(x: jax.Array, side: int = 2) -> jax.Array:
    """[B, H, W, side² C] -> [B, side H, side W, C]; the inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, side, side, c // side**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, side * h, side * w, c // side**2)
