"""The engine of portable models in NumPy: matrix products, no compiler, no JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from rdonet_jax.codec.portable import numpy_layers as layers
from rdonet_jax.codec.portable import numpy_prior
from rdonet_jax.codec.portable.engine import Engine
from rdonet_jax.codec.portable.numpy_prior import At
from rdonet_jax.core.config import PATCH, PortableConfig
from rdonet_jax.core.partition import HYPER_STRIDE
from rdonet_jax.models.portable.integer_format import ENCODER_UNIT, GRID
from rdonet_jax.models.quality_maps import LevelQuality


class NumpyNetwork:
    """The parameters of one model, arranged once for all images and qualities.

    Attributes:
      config: of the network.
      params: the whole tree; `units` are its subtrees by level.
      g_a, g_s, encoders, upsamplers, hyper_stages: the lapped stages; the last three by level.
      priors: the integer networks by level.
    """

    def __init__(self, config: PortableConfig, params: Any) -> None:
        self.config, self.params = config, params
        self.units = [params[f"units_{level}"] for level in range(config.levels)]
        self.g_a, self.g_s = (layers.Stage(params[name]) for name in ("g_a", "g_s"))
        self.encoders = [layers.Stage(unit["encoder"]) for unit in self.units]
        self.upsamplers = [layers.Stage(unit["hand_over"]) for unit in self.units]
        self.hyper_stages = [
            [layers.Stage(unit["hyper_encoder"][name]) for name in ("second", "third")]
            for unit in self.units
        ]
        self.priors = [
            numpy_prior.PriorLayers(config, level, unit["prior"])
            for level, unit in enumerate(self.units)
        ]


class NumpyEngine(Engine):
    """The steps of one model at some qualities, see `Engine`."""

    fixed_shapes = False

    def __init__(self, network: NumpyNetwork, qualities: np.ndarray) -> None:
        self._network, self._qualities = network, qualities
        self._config, self._params, self._units = network.config, network.params, network.units
        self._priors = [
            numpy_prior.LevelPrior(network.config, level, prior, qualities)
            for level, prior in enumerate(network.priors)
        ]

    def z_index(self, level: int, at: np.ndarray | None = None) -> np.ndarray:
        return self._priors[level].z_index[self._number(at)]

    def _number(self, at: np.ndarray | None) -> At:
        """Which of the engine's qualities: those given, or its only one."""
        return 0 if at is None else np.searchsorted(self._qualities, at)

    def analyze(self, pixels: np.ndarray, extent: np.ndarray) -> np.ndarray:
        x = pixels[0].astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
        h = layers.space_to_depth(layers.space_to_depth(x - np.float32(0.5)))
        h = self._network.g_a.down(h, extent // PATCH)
        extent = extent // (2 * PATCH)
        h = self._nonlinearity(h, self._params.get("g_a_refine"), extent, inverse=False)
        return self.coarsen(0, h[None], extent)

    def coarsen(self, level: int, e: np.ndarray, extent: np.ndarray) -> np.ndarray:
        unit = self._units[level]
        h = self._network.encoders[level].down(e[0], extent)
        return self._nonlinearity(h, unit.get("refine"), extent // 2, inverse=False)[None]

    def encode_latents(
        self,
        level: int,
        e: np.ndarray,
        d: np.ndarray,
        extent: np.ndarray,
        at: LevelQuality | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        positions, areas = at or (None, None)
        unit, prior = self._units[level], self._priors[level]
        y = layers.pointwise(np.concatenate([e[0], d[0]], axis=-1), unit["to_latent"])
        log_gain = numpy_prior.interpolate(unit["z_gain"], self._qualities)[self._number(areas)]
        in_units = y * (1 / numpy_prior.powers(prior.units)) / np.float32(ENCODER_UNIT)
        z = self._encode_hyper_latents(level, in_units, extent) * np.exp2(log_gain)
        y = y * prior.steps[self._number(positions)]
        return y.reshape(1, *y.shape[-3:]), z.reshape(1, *z.shape[-3:])

    def _encode_hyper_latents(self, level: int, y: np.ndarray, extent: np.ndarray) -> np.ndarray:
        """z before its gain, from y in the units of the prior."""
        first = self._units[level]["hyper_encoder"]["first"]
        second, third = self._network.hyper_stages[level]
        x = layers.zero_beyond(np.maximum(layers.pointwise(y, first), 0), extent)
        extent = -(-extent // HYPER_STRIDE) * HYPER_STRIDE
        return third.down(np.maximum(second.down(x, extent), 0), extent // 2)

    def compute_context(
        self,
        level: int,
        z_neighborhoods: np.ndarray,
        coarser: tuple[np.ndarray, np.ndarray] | None,
        at: np.ndarray | None = None,
    ) -> np.ndarray:
        inputs = None
        if coarser is not None:
            embeddings, features = (part.astype(np.float32) for part in coarser)
            inputs = np.concatenate(
                [embeddings.reshape(*features.shape[:3], -1), features], axis=-1
            )
        z = z_neighborhoods.astype(np.float32)
        return self._priors[level].context_features(z, inputs, self._number(at)).astype(np.int8)

    def hidden_features(
        self,
        level: int,
        plane: int,
        neighbors: np.ndarray,
        context_features: np.ndarray,
        at: np.ndarray | None = None,
    ) -> np.ndarray:
        around, context = (
            v.reshape(len(v), -1).astype(np.float32) for v in (neighbors, context_features)
        )
        prior, number = self._priors[level], self._number(at)
        return prior.hidden_features(plane, around, context, number).astype(np.int8)

    def predict(
        self,
        level: int,
        group: int,
        hidden: np.ndarray,
        symbols: np.ndarray,
        at: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        features, earlier = (v.astype(np.float32) for v in (hidden, symbols))
        mu, index = self._priors[level].predict(group, features, earlier, self._number(at))
        return mu.astype(np.int16), index.astype(np.uint8)

    def update_plane(
        self,
        level: int,
        mu: np.ndarray,
        symbols: np.ndarray,
        d: np.ndarray,
        at: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        prior = self._priors[level]
        mu, symbols = mu.astype(np.float32), symbols.astype(np.float32)
        embeddings = prior.embed_latents(numpy_prior.latent_integers(mu, symbols), self._number(at))
        y_hat = (mu / np.float32(GRID) + symbols) / prior.steps[self._number(at)]
        updated = d + layers.pointwise(y_hat, self._units[level]["from_latent"])
        return embeddings.astype(np.int8), updated

    def upsample(
        self, level: int, d: np.ndarray, updated: np.ndarray, extent: np.ndarray
    ) -> np.ndarray:
        unit = self._units[level]
        # Where a level is not coded, its y_hat is 0.
        d = np.where(updated[0, ..., None], d[0], d[0] + unit["from_latent"]["bias"])
        d = self._nonlinearity(d, unit.get("restore"), extent, inverse=True)
        return self._network.upsamplers[level].up(d, extent)[None]

    def synthesize(
        self, is_16bit: bool, d: np.ndarray, updated: np.ndarray, extent: np.ndarray
    ) -> np.ndarray:
        trunk = self.upsample(0, d, updated, extent)[0]
        extent = 2 * extent
        h = self._nonlinearity(trunk, self._params.get("g_s_restore"), extent, inverse=True)
        h = self._network.g_s.up(h, extent)
        if self._config.finish:
            h = layers.residual(h, self._params["g_s_finish"], 2 * extent)
        x_hat = layers.depth_to_space(layers.depth_to_space(h)) + np.float32(0.5)
        dtype = np.uint16 if is_16bit else np.uint8
        largest = np.float32(np.iinfo(dtype).max)
        # Broken weights may give NaN, whose cast is undefined.
        x_hat = np.clip(np.nan_to_num(x_hat), 0, 1)
        return np.rint(x_hat * largest).astype(dtype)[None]

    def _nonlinearity(
        self, x: np.ndarray, weights: Any, extent: np.ndarray, inverse: bool
    ) -> np.ndarray:
        return layers.nonlinearity(self._config.nonlinearity, x, weights, extent, inverse)
