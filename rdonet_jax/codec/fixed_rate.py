"""What the level coders of all fixed-rate models share, those of the papers and the baselines."""

from __future__ import annotations

import functools
import platform

import jax
import jax.numpy as jnp

from rdonet_jax.codec import bitstream
from rdonet_jax.runtime import compilation


@functools.cache
def this_platform() -> str:
    """What the files written here are bound to, such as "cpu x86_64 jax 0.10.2".

    The kind of an accelerator comes after that: its sums may differ from those of another kind.
    """
    backend = jax.default_backend()
    name = f"{backend} {platform.machine()} jax {jax.__version__}"
    if backend != "cpu":
        name += f" {jax.local_devices()[0].device_kind}"
    return name[: bitstream.MAX_PLATFORM]


@compilation.jit
def quantize(y: jax.Array, mu: jax.Array) -> jax.Array:
    """The symbols round(y - mu), as float32 integers; encoder only."""
    return jnp.round(y - mu)
