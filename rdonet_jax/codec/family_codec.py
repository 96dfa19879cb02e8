"""What the codec has to know about a family of networks, and where it finds that."""

from __future__ import annotations

import abc
import functools
import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.level_coder import LevelCoder
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model

if TYPE_CHECKING:
    from rdonet_jax.codec.image_quality import ImageQuality


class FamilyCodec(abc.ABC):
    """How the models of a family code an image, and how much memory that takes.

    A subclass gives `level_coder` and `working_set_bytes`. If its family has levels, it also gives
    `searching_bytes`.

    Each codec is one object in the module of its family's level coder, named by `Family.codec`.

    Attributes:
      takes_latents: whether its level coders code given latents as well. Then latents can be
        refined, and there are also `refining_bytes`.
      takes_regions: whether 64x64 blocks of an image may have qualities of their own.
      network_class: `Family.network_class` of the only networks that it codes; empty for any that
        have the methods it calls.
    """

    takes_latents: ClassVar[bool] = False
    takes_regions: ClassVar[bool] = False
    network_class: ClassVar[str] = ""

    @abc.abstractmethod
    def level_coder(
        self,
        model: Model,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: ImageQuality,
        engine: str,
    ) -> LevelCoder:
        """The level coder of one image, before its first level.

        Args:
          masks: by level, where it is coded, bool [h, w].
          size: height and width of the image in pixels.
          quality: that of the image; blocks differ for codecs that `takes_regions` alone.
          engine: the name of what computes its steps, one of `engines`.
        """

    def engines(self) -> tuple[str, ...]:
        """The names of the engines that the family has."""
        return ("jax",)

    @abc.abstractmethod
    def working_set_bytes(self, config: Any, grid: tuple[int, int]) -> int:
        """About the most memory that coding an image takes at a time, without the weights."""

    def searching_bytes(self, config: Any, grid: tuple[int, int], part: tuple[int, ...]) -> int:
        """About the most memory that a search for its partition takes, without the weights.

        `part` counts rows, columns of the blocks that are evaluated at a time. Only for families
        with levels.
        """
        raise NotImplementedError(f"{type(self).__name__} has no levels to search")

    def refining_bytes(self, config: Any, grid: tuple[int, int], tile_blocks: int) -> int:
        """About the most memory that refining the latents takes, without the weights.

        In tiles of so many 64x64 blocks. Only for codecs that `takes_latents`.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no latents")

    def platform(self) -> str:
        """What files written here are bound to; empty for files that decode everywhere."""
        return ""


@functools.cache
def _load(address: str) -> FamilyCodec:
    module, _, attribute = address.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _address(network_class: type | str) -> str:
    """A class as "module:attribute"."""
    if isinstance(network_class, str):
        return network_class
    return f"{network_class.__module__}:{network_class.__qualname__}"


def of(config: AnyConfig) -> FamilyCodec:
    """The codec of a configuration's family.

    Raises `EncodeError` for a family whose network is another than the one that the codec codes.
    """
    family = registry.family_of(config)
    codec = _load(family.codec)
    if codec.network_class not in ("", _address(family.network_class)):
        raise EncodeError(
            f"the family {family.name!r} has a network of its own, and its codec codes "
            f"{codec.network_class.rpartition(':')[2]} alone: it needs a codec of its own too"
        )
    return codec
