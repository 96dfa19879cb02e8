"""Checks before the work whether there is enough memory for an image."""

from __future__ import annotations

from rdonet_jax.codec import engine_choice, family_codec
from rdonet_jax.core import system_memory
from rdonet_jax.core.config import AnyConfig


def working_set_bytes(config: AnyConfig, grid: tuple[int, int]) -> int:
    """About the most memory that coding an image takes at a time, without the weights.

    `grid` = (rows, columns) of 64x64 blocks.
    """
    return family_codec.of(config).working_set_bytes(config, grid)


def searching_bytes(config: AnyConfig, grid: tuple[int, int]) -> int:
    """About the most memory that the search for a partition takes, without the weights."""
    return family_codec.of(config).searching_bytes(config, grid)


def shortage(config: AnyConfig, grid: tuple[int, int], searching: bool = False) -> str | None:
    """A clause for an error message if the memory is too small for an image; None otherwise.

    It is the memory for coding the image, or, if `searching`, for the search for its partition.
    None also where the memory is unknown, and for accelerators, which have memory of their own.
    """
    available = system_memory.available_bytes()
    needed = (searching_bytes if searching else working_set_bytes)(config, grid)
    if available is None or needed <= available or engine_choice.uses_accelerator():
        return None
    work = "a search for its partition" if searching else "coding it"
    return (
        f"{work} takes about {needed / 2**30:.1f} GiB of memory, "
        f"of which {available / 2**30:.1f} GiB are available"
    )
