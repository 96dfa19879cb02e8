"""The codec of the portable models: their level coder, their engines, the memory for an image."""

from __future__ import annotations

from typing import cast

import numpy as np

from rdonet_jax.codec import working_set
from rdonet_jax.codec.family_codec import FamilyCodec
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.portable import engines
from rdonet_jax.codec.portable.coder import PortableLevelCoder
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.models.portable.family import PortableFamily
from rdonet_jax.models.zoo import Model


class PortableCodec(FamilyCodec):
    """The codec of the portable models. Their files decode everywhere."""

    takes_latents = True
    takes_regions = True
    network_class = PortableFamily.network_class

    def level_coder(
        self,
        model: Model,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: ImageQuality,
        engine: str,
    ) -> PortableLevelCoder:
        maps = quality.maps
        numbers = np.array([quality.number]) if maps is None else maps.distinct()
        steps = engines.make(engine, model, numbers)
        return PortableLevelCoder(cast(PortableConfig, model.config), steps, masks, size, maps)

    def engines(self) -> tuple[str, ...]:
        return engines.ENGINES

    def working_set_bytes(self, config: PortableConfig, grid: tuple[int, int]) -> int:
        return working_set.tiled_bytes(config, grid)

    def searching_bytes(
        self, config: PortableConfig, grid: tuple[int, int], part: tuple[int, ...]
    ) -> int:
        return working_set.tiled_search_bytes(config, grid, part)

    def refining_bytes(
        self, config: PortableConfig, grid: tuple[int, int], tile_blocks: int
    ) -> int:
        return working_set.refining_bytes(config, grid, tile_blocks)


CODEC = PortableCodec()
