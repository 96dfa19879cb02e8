"""The latents of one level of a portable model, plane by plane, in either direction.

The priors of a plane follow from integers that were coded before: the hyper-latents of the level,
the coarser levels, and the earlier planes. They are computed for lists of positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rdonet_jax.codec import tiles
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.codec.portable.asynchronous import compute_ahead
from rdonet_jax.codec.portable.encoder_latents import EncoderLatents
from rdonet_jax.codec.portable.engine import Array, Engine
from rdonet_jax.codec.portable.state import (
    ImageQualities,
    LevelState,
    Positions,
    gather_neighborhoods,
    zero_pad,
)
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.portable.integer_format import PLANES, Parity


class LevelPlanes:
    """The planes of one level, whose state they change.

    Args:
      config: of the model.
      engine: its steps, at all qualities of the image.
      level: the level.
      state: of the level.
      qualities: those of the positions of the image.
      grid: rows and columns of the 64x64 blocks of the image.
    """

    def __init__(
        self,
        config: PortableConfig,
        engine: Engine,
        level: int,
        state: LevelState,
        qualities: ImageQualities,
        grid: tuple[int, int],
    ) -> None:
        self.state = state
        self._engine, self._level, self._qualities = engine, level, qualities
        self._hidden = config.hidden
        self._groups = integer_format.channel_groups(config, level)
        per_block = (BLOCK // STRIDES[level]) ** 2
        self._at_once = math.prod(tiles.tile_shape_for(grid)) * per_block // len(PLANES)
        """Positions of a plane that are computed at a time."""

    def set_context(self, z_hat: np.ndarray, coarser: LevelState | None) -> None:
        """Computes the context features, before the first plane.

        From z_hat int32 [·, ·, ·], and the state of the next coarser level; None at the coarsest.
        """

        def compute(batch: tuple[slice, Positions]) -> Array:
            _, areas = batch
            coarse_context = coarser.coarse_context(areas) if coarser else None
            neighborhoods = gather_neighborhoods(z_hat, areas)
            at = self._qualities.of_z(self._level, areas)
            return self._engine.compute_context(self._level, neighborhoods, coarse_context, at)

        areas_at_once = self._at_once * len(PLANES) // HYPER_STRIDE**2
        batches = self._batches(self.state.areas, areas_at_once)
        for (part, areas), features in compute_ahead(batches, compute):
            count = part.stop - part.start
            self.state.set_context(areas.first(count), features[:count])

    def code(
        self, parity: Parity, code_run: CodeRun, latents: EncoderLatents | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu in 1/16 step and the symbols of the coded positions of a plane, [n, L].

        `latents` is None in a decoder.
        """
        hidden = self._hidden_features(parity)
        at = self._qualities.at(self._level, self.state.planes[parity])
        mu: list[np.ndarray] = []
        symbols: list[np.ndarray] = []

        def code_group(group: int, channels: slice) -> None:
            group_mu, index = self._predict(group, hidden, symbols, at)
            run = code_run(
                index.ravel(), lambda: latents.quantize(parity, channels, group_mu, index)
            )
            mu.append(group_mu)
            symbols.append(run.reshape(group_mu.shape))

        for group, channels in enumerate(self._groups):
            code_group(group, channels)
        if latents is not None:
            latents.drop_plane(parity)
        return _joined(mu), _joined(symbols)

    def update(self, parity: Parity, mu: np.ndarray, symbols: np.ndarray) -> None:
        """Adds the decoded latents of a plane, as `code` gives them, to the state."""
        state = self.state

        def compute(batch: tuple[slice, Positions]) -> tuple[Array, Array]:
            part, at = batch
            inputs = (
                *self._filled(mu[part], symbols[part].astype(np.int32)),
                state.d[at.rows, at.columns],
                self._qualities.at(self._level, at),
            )
            return self._engine.update_plane(self._level, *inputs)

        batches = self._batches(state.planes[parity], self._at_once)
        for (part, at), updated in compute_ahead(batches, compute):
            count = part.stop - part.start
            state.update_plane(at.first(count), *(v[:count] for v in updated))

    def _hidden_features(self, parity: Parity) -> np.ndarray:
        """Hidden features int8 of the coded positions of a plane, [n, ·]."""
        state = self.state

        def compute(batch: tuple[slice, Positions]) -> Array:
            _, at = batch
            neighbors, features = state.neighbor_embeddings(at), state.context_features(at)
            qualities = self._qualities.at(self._level, at)
            plane = PLANES.index(parity)
            return self._engine.hidden_features(self._level, plane, neighbors, features, qualities)

        positions = state.planes[parity]
        hidden = np.empty((len(positions.rows), 2 * self._hidden), np.int8)
        for (part, _), features in compute_ahead(self._batches(positions, self._at_once), compute):
            hidden[part] = features[: part.stop - part.start]
        return hidden

    def _predict(
        self, group: int, hidden: np.ndarray, symbols: list[np.ndarray], at: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu int16 and scale indices uint8 of a group of channels, [n, ·].

        From the hidden features [n, ·], the symbols [n, ·] of each earlier group, and the qualities
        [n] where they differ.
        """
        channels = self._groups[group]

        def compute(part: slice) -> tuple[Array, Array]:
            rows = part.stop - part.start
            earlier = np.zeros((rows, channels.start), np.int32)
            if symbols:
                np.concatenate([values[part] for values in symbols], axis=1, out=earlier)
            values = self._filled(hidden[part], earlier, *([] if at is None else [at[part]]))
            return self._engine.predict(self._level, group, *values)

        count, size = len(hidden), self._at_once
        shape = (count, channels.stop - channels.start)
        mu, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        parts = (slice(first, min(first + size, count)) for first in range(0, count, size))
        for part, prediction in compute_ahead(parts, compute):
            mu[part], index[part] = (v[: part.stop - part.start] for v in prediction)
        return mu, index

    def _batches(self, positions: Positions, size: int) -> Iterator[tuple[slice, Positions]]:
        return positions.batches(size, self._engine.fixed_shapes)

    def _filled(self, *values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Values [n, ...] as long as a compiled step needs them."""
        if not self._engine.fixed_shapes:
            return values
        return tuple(zero_pad(v, self._at_once) for v in values)


def _joined(groups: list[np.ndarray]) -> np.ndarray:
    """Groups of channels [n, ·] side by side; one alone is not copied."""
    return groups[0] if len(groups) == 1 else np.concatenate(groups, axis=1)
