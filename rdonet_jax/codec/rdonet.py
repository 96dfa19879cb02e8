"""The level coder of the fixed-rate RDONet, whose files are bound to a platform, and its codec.

The encoder uses the decoder's own compiled functions (`predict`, `advance`, `synthesize`) and those
that only it needs (`analyze`, `encode_latents`, `quantize`). So both predict the same numbers, bit
for bit, in any process on the same kind of machine with the same version of JAX. On CPUs, tests
decode in a fresh process and, for JAX 0.10, in one that has a single CPU (for 0.5.3 the number of
CPUs must be the same).

Elsewhere floats may differ in the last bit, as they may between two processes on accelerators whose
libraries choose their algorithms anew. The checksum over all symbols then makes an error of what
would be a wrong image. Where only the synthesis differs, some values of the image differ by one
gray level.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.codec import hyper_latent_coding, level_coder, working_set
from rdonet_jax.codec.family_codec import FamilyCodec
from rdonet_jax.codec.fixed_rate import quantize, this_platform
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.core import partition
from rdonet_jax.core.config import RDONetConfig
from rdonet_jax.entropy import likelihoods
from rdonet_jax.entropy.runs import Run
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.models.rdonet import causal_prior
from rdonet_jax.models.zoo import Model
from rdonet_jax.runtime import compilation


def _network(config: RDONetConfig) -> Any:
    """The network of the configuration's own family: `RDONet`, or a subclass."""
    return registry.family_of(config).network(config)


@functools.partial(compilation.jit, static_argnums=0)
def analyze(config: RDONetConfig, params: Any, pixels: jax.Array) -> tuple[jax.Array, ...]:
    """Padded pixels uint8 or uint16 [1, H, W, 3] -> encoder features by level."""
    x = distortion.from_integers(pixels)
    return _network(config).apply({"params": params}, x, method="analyze")


@functools.partial(compilation.jit, static_argnums=(0, 1))
def encode_latents(
    config: RDONetConfig, level: int, params: Any, e: jax.Array, state: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """y and rounded z of a level; encoder only."""
    net = _network(config)
    y, z = net.apply({"params": params}, level, e, state, method="latent")
    return y, jnp.round(z)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def predict(
    config: RDONetConfig, level: int, params: Any, z_hat: jax.Array, state: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """mu and scale index of y, [1, h, w, C]."""
    prior = _network(config).apply({"params": params}, level, z_hat, state, method="predict_y")
    return prior.mu, likelihoods.scale_index(prior.scale, config.distribution)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def advance(
    config: RDONetConfig,
    level: int,
    params: Any,
    mu: jax.Array,
    symbols: jax.Array,
    state: jax.Array,
) -> jax.Array:
    """The next state; symbols int32 [1, h, w, C] are 0 where not coded, which leaves mu there."""
    y_hat = mu + symbols.astype(jnp.float32)
    return _network(config).apply({"params": params}, level, y_hat, state, method="next_state")


@functools.partial(compilation.jit, static_argnums=(0, 1))
def synthesize(config: RDONetConfig, is_16bit: bool, params: Any, state: jax.Array) -> jax.Array:
    """The state after level 0 -> padded pixels uint8 [1, H, W, 3], or uint16 if `is_16bit`."""
    x_hat = _network(config).apply({"params": params}, state, method="synthesize")
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


class RDONetLevelCoder(level_coder.LevelCoder):
    """Codes the levels of one image.

    Args:
      config, params: of the model.
      masks: by level, where it is coded, bool [h, w].
      grid: rows and columns of 64×64 blocks.
    """

    def __init__(
        self,
        config: RDONetConfig,
        params: Any,
        masks: tuple[np.ndarray, ...],
        grid: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.params, self.masks = config, params, masks
        self.hyper_masks = tuple(np.asarray(partition.hyper_mask(m)) for m in masks)
        self.state = _network(config).initial_state(1, grid)
        self._features: tuple[jax.Array, ...] = ()
        self._pending: list[tuple[int, np.ndarray]] = []  # levels with nothing coded, their z_hat

    def analyze(self, image: np.ndarray) -> None:
        self._features = analyze(self.config, self.params, partition.pad_image(image))

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        """The runs of a level: hyper-latents by wavefront, then the latents."""
        runs: list[Run] = []
        e = self._features[level]
        latents = encode_latents(self.config, level, self.params, e, self.state)
        self._code_level(level, level_coder.encoder_run(runs), latents, continues)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        self._code_level(level, level_coder.decoder_run(read_symbols), None)

    def _code_level(
        self,
        level: int,
        code_run: CodeRun,
        latents: tuple[jax.Array, jax.Array] | None,
        continues: bool = True,
    ) -> None:
        """Codes the runs of a level. `latents`, y and rounded z, are None in a decoder.

        The state goes past the level only if the coder `continues`.
        """
        symbols: list[np.ndarray] = []
        code_run = level_coder.recorded_run(code_run, symbols)
        mask, coded = self.masks[level], self.hyper_masks[level]
        z_hat = None
        if latents is not None:
            z_hat = np.where(coded[..., None], np.asarray(latents[1])[0], np.float32(0))
        weights = self._causal_weights(level)
        z_hat = hyper_latent_coding.code(code_run, weights, coded, self.config.distribution, z_hat)
        if latents is None and not mask.any():
            # Computed when a finer level has begun: a short file that claims a large image is
            # refused before the work.
            self._pending.append((level, z_hat))
            code_run(np.zeros(0, np.int64), lambda: None)  # of which nothing is computed
        else:
            self._advance_pending()
            mu, index = self._predict(level, z_hat)
            compute_symbols = functools.partial(_quantized, latents, mu, mask)
            y_symbols = code_run(index[mask].ravel(), compute_symbols)
            if continues:
                self._advance(level, mu, y_symbols)
        self.record(level, symbols)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        self._advance_pending()
        return np.asarray(synthesize(self.config, is_16bit, self.params, self.state))[0]

    def _advance_pending(self) -> None:
        """Brings the state past the levels that have nothing coded."""
        for level, z_hat in self._pending:
            mu, _ = self._predict(level, z_hat)
            self._advance(level, mu, np.zeros(0, np.int32))
        self._pending.clear()

    def _causal_weights(self, level: int) -> causal_prior.CausalWeights:
        return causal_prior.CausalWeights(**self.params[f"units_{level}"]["hyper_prior"])

    def _predict(self, level: int, z_hat: np.ndarray) -> tuple[jax.Array, np.ndarray]:
        """mu [1, h, w, C] and, on the host, the scale indices [h, w, C]."""
        mu, index = predict(self.config, level, self.params, z_hat[None], self.state)
        return mu, np.asarray(index)[0]

    def _advance(self, level: int, mu: jax.Array, symbols: np.ndarray) -> None:
        """Brings the state past a level with the symbols of its coded latents."""
        grid = np.zeros(mu.shape, np.int32)
        mask = self.masks[level]
        grid[0, mask] = symbols.reshape(-1, mu.shape[-1])
        self.state = advance(self.config, level, self.params, mu, grid, self.state)


def _quantized(latents: Any, mu: jax.Array, mask: np.ndarray) -> np.ndarray:
    """Encoder only: the symbols of y where a level is coded, from y and z."""
    return np.asarray(quantize(latents[0], mu))[0][mask]


class RDONetCodec(FamilyCodec):
    """The codec of the networks of the papers. Its files are bound to a platform."""

    def level_coder(
        self,
        model: Model,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: ImageQuality,
        engine: str,
    ) -> RDONetLevelCoder:
        grid = partition.block_grid(*size)
        config = cast(RDONetConfig, model.config)
        return RDONetLevelCoder(config, model.device_params, masks, grid)

    def working_set_bytes(self, config: RDONetConfig, grid: tuple[int, int]) -> int:
        return working_set.untiled_bytes(working_set.rdonet_scalars(config), grid)

    def searching_bytes(
        self, config: RDONetConfig, grid: tuple[int, int], part: tuple[int, ...]
    ) -> int:
        return working_set.search_bytes(config.features, working_set.rdonet_scalars(config), part)

    def platform(self) -> str:
        return this_platform()


CODEC = RDONetCodec()
