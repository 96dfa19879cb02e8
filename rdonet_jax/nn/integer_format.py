"""The numbers that define the integer arithmetic of `rdonet_jax.nn.integer`, for every engine.

They are part of the file format: docs/format.md.
"""

from __future__ import annotations

import numpy as np

LARGEST = 127
"""The largest magnitude of activations and of weights."""

MAX_INPUTS = 960
"""The largest number of products in a sum."""

LARGEST_BIAS = 2**20
"""960 · 127² + 2**20 < 2**24: every sum of a layer is exact in float32."""

LARGEST_WIDE = 2**13 - 1
"""The largest magnitude of numbers that are multiplied by a mantissa: 8191 · 2047 < 2**24."""

BIAS_BITS = 5
"""A bias of 1.0 counts as much as a weight of 1.0 at an activation of 2**5."""

OCTAVE = 256
"""Exponents are in 1/256 octave: 2 ** (n / 256)."""

MANTISSA_BITS = 10

MANTISSAS = np.rint(2.0**MANTISSA_BITS * 2.0 ** (np.arange(OCTAVE) / OCTAVE)).astype(np.float32)
"""2 ** (n / 256) for n = 0 ... 255 in 1/1024. No value is near a tie, see the tests."""

OCTAVES = 15
"""Powers range from 2**-OCTAVES to 2**OCTAVES."""
