"""The quantizer steps of a portable model's kernels in a packed weights file."""

from __future__ import annotations

import numpy as np

from rdonet_jax.models import packing
from rdonet_jax.models.portable import integer_format

NEAR_IMAGE = (
    "g_a", "g_s", "g_s_finish", "g_s_restore",
    "units_0/encoder", "units_0/to_latent", "units_0/from_latent", "units_0/hand_over",
)  # fmt: skip
"""Layers whose rounding changes the image most, see `benchmarks/packing.py`."""

NEAR_STEPS, FAR_STEPS = 96, 32
"""Quantizer steps per deviation of a kernel: of these layers, and of all others."""


def kernel_steps(path: str, kernel: np.ndarray) -> np.ndarray:
    """The steps of the kernel at `path`, one or one per output channel.

    Integer layers keep their integers.
    """
    step = integer_format.weight_step(path)
    if step is not None:
        return np.full(1, step)
    is_near = path.removesuffix("/kernel") in NEAR_IMAGE
    return packing.steps(kernel, NEAR_STEPS if is_near else FAR_STEPS)
