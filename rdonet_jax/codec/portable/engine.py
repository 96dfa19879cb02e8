"""What computes the steps of a portable model's level coder: the interface of its engines.

Each step takes and gives NumPy arrays, or arrays that NumPy converts. All engines give the same
integers; their floats differ by rounding. So a file of one engine decodes with every other one, to
the same symbols.

An engine computes a model at the qualities of an image: one, or those of its blocks. In the latter
case steps take `at`: the quality of each position, or of each hyper-latent for what concerns these,
int32 [N].

Shapes: a tile of n × m positions is [1, n, m, C]. An `extent`, int32 [2], is how many rows and
columns of the step's input lie within the image; the image ends there. N is the length of a list of
positions.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from rdonet_jax.models.quality_maps import LevelQuality

Array = Any
"""A NumPy array, or one that `np.asarray` converts, perhaps not computed yet."""


class Engine(abc.ABC):
    """The steps of one model at the qualities of an image.

    Attributes:
      fixed_shapes: whether tiles and lists of positions must always have the same few shapes, since
        steps are compiled for them.
    """

    fixed_shapes: bool

    @abc.abstractmethod
    def z_index(self, level: int, at: np.ndarray | None = None) -> np.ndarray:
        """Scale indices of the channels of z, int32 [·], or [N, ·] at N hyper-latents."""

    @abc.abstractmethod
    def analyze(self, pixels: np.ndarray, extent: np.ndarray) -> Array:
        """Pixels uint8 or uint16 [1, 16 n, 16 m, 3] -> e[0] [1, n, m, C]."""

    @abc.abstractmethod
    def coarsen(self, level: int, e: np.ndarray, extent: np.ndarray) -> Array:
        """e[level - 1] [1, 2 n, 2 m, C] -> e[level] [1, n, m, C]."""

    @abc.abstractmethod
    def encode_latents(
        self,
        level: int,
        e: np.ndarray,
        d: np.ndarray,
        extent: np.ndarray,
        at: LevelQuality | None = None,
    ) -> tuple[Array, Array]:
        """y [1, n, m, L] and z [1, n/4, m/4, ·] in steps, not yet rounded; encoder only.

        `at` is [1, n, m] and [1, n/4, m/4].
        """

    @abc.abstractmethod
    def compute_context(
        self,
        level: int,
        z_neighborhoods: np.ndarray,
        coarser: tuple[np.ndarray, np.ndarray] | None,
        at: np.ndarray | None = None,
    ) -> Array:
        """The context features int8 [N, 4, 4, ·] of the areas of N hyper-latents.

        From the 3×3 neighborhoods of z_hat [N, 9 ·], and `coarse_context` of the coarser level:
        int8 [N, 2, 2, 9, E] and [N, 2, 2, ·], None at the coarsest level.
        """

    @abc.abstractmethod
    def hidden_features(
        self,
        level: int,
        plane: int,
        neighbors: np.ndarray,
        context_features: np.ndarray,
        at: np.ndarray | None = None,
    ) -> Array:
        """Hidden features int8 [N, ·] of N positions of a plane.

        `plane` counts as in `PLANES`. neighbors int8 [N, 8, E]; context_features int8 [N, ·].
        """

    @abc.abstractmethod
    def predict(
        self,
        level: int,
        group: int,
        hidden: np.ndarray,
        symbols: np.ndarray,
        at: np.ndarray | None = None,
    ) -> tuple[Array, Array]:
        """mu int16 in 1/16 step and scale index uint8 of a group of channels, [N, ·].

        From the hidden features of N positions, and symbols int32 [N, ·] of the earlier groups.
        """

    @abc.abstractmethod
    def update_plane(
        self,
        level: int,
        mu: np.ndarray,
        symbols: np.ndarray,
        d: np.ndarray,
        at: np.ndarray | None = None,
    ) -> tuple[Array, Array]:
        """N decoded positions: their embeddings int8 [N, E], and d with the latents added [N, C].

        From mu int16 and symbols int32 [N, L], and d [N, C].
        """

    @abc.abstractmethod
    def upsample(self, level: int, d: np.ndarray, updated: np.ndarray, extent: np.ndarray) -> Array:
        """d of the next finer level [1, 2 n, 2 m, C].

        From d [1, n, m, C], to which latents have been added where `updated`, bool [1, n, m]. The
        latents elsewhere are 0.
        """

    @abc.abstractmethod
    def synthesize(
        self, is_16bit: bool, d: np.ndarray, updated: np.ndarray, extent: np.ndarray
    ) -> Array:
        """Pixels uint8, or uint16 if `is_16bit`, [1, 16 n, 16 m, 3].

        From d of level 0, as in `upsample`.
        """
