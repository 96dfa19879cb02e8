"""The level coder of portable models, in either direction.

Encoder and decoder run the same function, level by level and plane by plane, and differ only in
where the symbols of a run come from, a `CodeRun`. The probability tables of a run follow from
integers that were coded before, by exact arithmetic. So a file decodes to the same symbols on every
device. Only the transforms between pixels and latents are computed in floats, and a pixel may
differ by one gray level between devices.

Images of any size are coded in steps, which an `Engine` computes: transforms work on tiles
(`TiledTransforms`), priors on lists of positions (`LevelPlanes`). The state of a level is in host
memory.
"""

from __future__ import annotations

import numpy as np

from rdonet_jax.codec import level_coder
from rdonet_jax.codec.level_coder import CodeRun, ImageLatents
from rdonet_jax.codec.portable.encoder_latents import (
    EncoderLatents,
    GivenLatents,
    RecordedLatents,
)
from rdonet_jax.codec.portable.engine import Engine
from rdonet_jax.codec.portable.level_planes import LevelPlanes
from rdonet_jax.codec.portable.state import (
    ImageQualities,
    LevelState,
    Positions,
    masks_with_finer,
)
from rdonet_jax.codec.portable.tiled_transforms import TiledTransforms
from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.entropy.runs import Run
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.portable.integer_format import PLANES
from rdonet_jax.models.quality_maps import QualityMaps


class PortableLevelCoder(level_coder.LevelCoder):
    """Codes the levels of one image.

    Args:
      config: of the model.
      engine: its steps, at all qualities of the image.
      masks: by level, where it is coded, bool [h, w].
      size: height and width of the image in pixels.
      qualities: those of all positions where they differ.
    """

    def __init__(
        self,
        config: PortableConfig,
        engine: Engine,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        qualities: QualityMaps | None = None,
    ) -> None:
        super().__init__()
        self.config, self.engine, self.masks = config, engine, masks
        self._qualities = ImageQualities(qualities)
        self._grid = partition.block_grid(*size)
        self._transforms = TiledTransforms(config, engine, size, self._qualities)
        self._masks_with_finer = masks_with_finer(masks)
        self._features: list[np.ndarray] = []
        self._given: ImageLatents | None = None
        self._pending_z_hat: dict[int, np.ndarray] = {}
        self._coarser: LevelState | None = None
        self._level = config.levels - 1
        shape = (*masks[self._level].shape, config.features[self._level])
        self._planes = self._planes_of_level(np.zeros(shape, np.float32))

    def use_latents(self, latents: ImageLatents) -> None:
        self._given = latents

    def analyze(self, image: np.ndarray) -> None:
        self._features = self._transforms.analyze(image)

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        if level >= self.config.levels:
            self.record(level, [])
            return []
        self._enter(level)
        runs: list[Run] = []
        latents = self.encode_latents(level)
        self.code_level(level, level_coder.encoder_run(runs), latents, continues)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        if level >= self.config.levels:
            self.record(level, [])
            return
        self.code_level(level, level_coder.decoder_run(read_symbols), None)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        self._enter(0)
        return self._transforms.synthesize(self._planes.state, is_16bit)

    def encode_recorded(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        self._enter(level)
        latents = RecordedLatents(self.config, level, self._planes.state)
        self._analyze_latents(level, latents)
        self.code_level(level, level_coder.encoder_run([]), latents, continues=level > 0)
        return latents.recorded, latents.z

    def encode_latents(self, level: int) -> EncoderLatents:
        """Encoder only: the latents of the level. To be called once, frees the features."""
        state = self._planes.state
        if self._given is not None:
            y, z = self._given.y[level], self._given.z[level]
            return GivenLatents(self.config, level, state, y, z)
        latents = EncoderLatents(self.config, level, state)
        self._analyze_latents(level, latents)
        return latents

    def _analyze_latents(self, level: int, latents: EncoderLatents) -> None:
        """Computes the latents of a level from its features, which are the last ones left."""
        assert len(self._features) == level + 1, "levels are coded from coarse to fine"
        e, d = self._features.pop(), self._planes.state.d
        self._transforms.encode_latents(level, e, d, latents)

    def code_level(
        self,
        level: int,
        code_run: CodeRun,
        latents: EncoderLatents | None,
        continues: bool = True,
    ) -> None:
        """Codes the runs of a level: the hyper-latents, then the latents plane by plane.

        `latents` is None in a decoder. The planes that are decoded last are added to the state only
        if the coder `continues` with the next level. Raises `SymbolError` for numbers of an encoder
        that cannot be coded.
        """
        symbols: list[np.ndarray] = []
        code_run = level_coder.recorded_run(code_run, symbols)
        steps = integer_format.DECODE_ORDER[self.config.context]
        z_hat = self._code_hyper_latents(level, code_run, latents)
        if latents is None and not self.masks[level].any():
            # Computed when a finer level has begun: a short file that claims a large image is
            # refused before the work.
            self._pending_z_hat[level] = z_hat
            groups = integer_format.channel_groups(self.config, level)
            for _ in range(len(PLANES) * len(groups)):
                code_run(np.zeros(0, np.uint8), lambda: None)
        else:
            self._enter(level)
            self._set_context(z_hat)
            planes = self._planes
            for step in steps:
                coded = {parity: planes.code(parity, code_run, latents) for parity in step}
                if continues or step != steps[-1]:
                    for parity, (mu, plane_symbols) in coded.items():
                        planes.update(parity, mu, plane_symbols)
        self.record(level, symbols)

    def _code_hyper_latents(
        self, level: int, code_run: CodeRun, latents: EncoderLatents | None
    ) -> np.ndarray:
        """z_hat int32 [·, ·, ·], 0 where not coded."""
        coded = partition.hyper_mask(self.masks[level])
        positions = Positions(*np.nonzero(coded))
        index = self.engine.z_index(level, self._qualities.of_z(level, positions))
        channels = index.shape[-1]
        indices = np.broadcast_to(index, (len(positions.rows), channels))
        symbols = code_run(indices.ravel(), lambda: np.rint(latents.z[coded]))
        z_hat = np.zeros((*coded.shape, channels), np.int32)
        z_hat[coded] = symbols.reshape(-1, channels)
        return z_hat

    def _set_context(self, z_hat: np.ndarray) -> None:
        """Computes the context of the level, which is all that needs the coarser one."""
        self._planes.set_context(z_hat, self._coarser)
        self._coarser = None

    def _enter(self, level: int) -> None:
        """Brings the state to a level, through those that have nothing coded."""
        while self._level != level:
            if self._level in self._pending_z_hat:
                self._set_context(self._pending_z_hat.pop(self._level))
            d = self._transforms.upsample(self._level, self._planes.state)
            self._coarser = self._planes.state.drop_features()
            self._level -= 1
            self._planes = self._planes_of_level(d)

    def _planes_of_level(self, d: np.ndarray) -> LevelPlanes:
        """The planes of the present level, whose features d are predicted from coarser ones."""
        level = self._level
        state = LevelState(self.config, self.masks[level], self._masks_with_finer[level], d)
        return LevelPlanes(self.config, self.engine, level, state, self._qualities, self._grid)
