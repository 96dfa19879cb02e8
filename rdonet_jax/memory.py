"""How much memory a picture takes to code, and whether it is there: asked before the work."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import jax

from rdonet_jax.config import ModelConfig
from rdonet_jax.partition import BLOCK, STRIDES

MEMORY_STATE = Path("/proc/meminfo")
"""Where Linux says how much memory there is."""

_SCALAR_BYTES = 4


def working_set_bytes(config: ModelConfig, grid: tuple[int, int]) -> int:
    """About the most memory that coding a picture takes at a time, without the weights.

    `grid` = (rows, columns) of 64x64 blocks. The most is taken by one of the transposed
    convolutions of g_s (those of g_a mirror them), which holds its input and its output, or the
    output before and after its phases become pixels. The state before g_s, the symbols of all
    levels and the picture itself are there all the time.
    """
    first, second, third = config.trunk
    # Scalars per block of the activations at 1/8, 1/4, 1/2 and the whole of the picture's size.
    sides = (BLOCK // 8, BLOCK // 4, BLOCK // 2, BLOCK)
    sizes = [n * side**2 for n, side in zip((third, second, first, 3), sides, strict=True)]
    peak = max(after + max(before, after) for before, after in pairwise(sizes))
    latents = (n * (BLOCK // s) ** 2 for n, s in zip(config.latents, STRIDES, strict=True))
    block_bytes = _SCALAR_BYTES * (peak + sizes[0] + sum(latents)) + 3 * BLOCK**2
    return math.prod(grid) * block_bytes


def available_bytes() -> int | None:
    """The memory that can be had without swapping; None where the system does not tell."""
    try:
        lines = MEMORY_STATE.read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemAvailable" not in fields:
        return None
    return 1024 * int(fields["MemAvailable"].split()[0])


def shortage(config: ModelConfig, grid: tuple[int, int]) -> str | None:
    """What is lacking for a picture of this grid, as a clause; None if nothing is known to be.

    Accelerators have memory of their own, about which nothing is said.
    """
    available = available_bytes()
    needed = working_set_bytes(config, grid)
    if available is None or needed <= available or jax.default_backend() != "cpu":
        return None
    return (
        f"coding it takes about {needed / 2**30:.1f} GiB of memory, "
        f"of which {available / 2**30:.1f} GiB are available"
    )
