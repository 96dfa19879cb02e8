"""Whether there is memory for an image: asked before the work."""

from __future__ import annotations

from rdonet_jax.codec import engine_choice, family_codec
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.runtime import system_memory


def working_set_bytes(config: AnyConfig, grid: tuple[int, int]) -> int:
    """About the most memory that coding an image takes at a time, without the weights.

    `grid` = (rows, columns) of 64x64 blocks.
    """
    return family_codec.of(config).working_set_bytes(config, grid)


def searching_bytes(config: AnyConfig, grid: tuple[int, int], part: tuple[int, ...]) -> int:
    """About the most memory that the search for a partition takes, without the weights.

    `part` = (rows, columns) of the blocks that are evaluated at a time.
    """
    return family_codec.of(config).searching_bytes(config, grid, part)


def refining_bytes(config: AnyConfig, grid: tuple[int, int], tile_blocks: int) -> int:
    """About the most memory that refining latents takes, in tiles of so many 64x64 blocks."""
    return family_codec.of(config).refining_bytes(config, grid, tile_blocks)


def shortage(config: AnyConfig, grid: tuple[int, int]) -> str | None:
    """What is lacking to code an image of this grid, as a clause; None if nothing is known to be.

    Accelerators have memory of their own, about which nothing is said. Models that NumPy can code
    keep most of what coding takes in the memory of the host with every engine.
    """
    available = system_memory.available_bytes()
    needed = working_set_bytes(config, grid)
    if available is None or needed <= available:
        return None
    if "numpy" not in family_codec.of(config).engines() and engine_choice.uses_accelerator():
        return None
    return _lack("coding it", needed, available)


def searching_shortage(
    config: AnyConfig, grid: tuple[int, int], part: tuple[int, ...]
) -> str | None:
    """As `shortage`, for searching for the partition, `part` blocks at a time."""
    available = system_memory.available_bytes()
    needed = searching_bytes(config, grid, part)
    if available is None or needed <= available or engine_choice.uses_accelerator():
        return None
    return _lack("a search for its partition", needed, available)


def refining_shortage(config: AnyConfig, grid: tuple[int, int], tile_blocks: int) -> str | None:
    """As `shortage`, for refining the latents of an image."""
    available = system_memory.available_bytes()
    needed = refining_bytes(config, grid, tile_blocks)
    if available is None or needed <= available:
        return None
    return _lack("refining its latents", needed, available)


def _lack(work: str, needed: int, available: int) -> str:
    return (
        f"{work} takes about {needed / 2**30:.1f} GiB of memory, "
        f"of which {available / 2**30:.1f} GiB are available"
    )
