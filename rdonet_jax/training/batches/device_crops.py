"""Batches of random crops, cut on the devices from images in their memory.

Every image is stored at a few sizes, reduced beforehand (Lanczos), as one array of packed pixels. A
crop is cut from one of these sizes. Image, size, position and mirroring are a pure function of
(seed, step, number of the crop in the whole batch), but other ones than in `crops`.

This is for accelerators that train faster than a host can cut crops. All images together take three
to four times 4 bytes per pixel of device memory.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging.dataset import ImageDataset, ImageFile, in_threads
from rdonet_jax.runtime import compilation, parallel
from rdonet_jax.training import sharding
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.config import TrainingConfig

SIZES = 5
"""The number of sizes of every image, including the original one."""

MOST_PIXELS = 2**31 - 1
"""Indices of pixels are int32."""

STREAM = 0x637574
"""Folded into the run's key to draw crops, apart from the keys of masks and noise."""


Array = jax.Array | np.ndarray


class Pool(NamedTuple):
    """All images at all sizes."""

    pixels: Array  # uint32 [N], red + green · 2^8 + blue · 2^16, row by row
    offsets: Array  # int32 [P, SIZES], index of the first pixel of an image at a size
    sides: Array  # int32 [P, SIZES, 2], rows and columns
    chances: Array  # float32 [P], cumulative probabilities of the images


class _Cut(NamedTuple):
    """The position of a crop in the pool."""

    image: jax.Array  # index of the image
    first: jax.Array  # index of the top left pixel
    width: jax.Array  # of the image, in pixels
    is_mirrored: jax.Array


def load(images: ImageDataset, config: TrainingConfig) -> tuple[Pool, tuple[ImageFile, ...]]:
    """The pool, in host memory, and the files of its images, without broken ones.

    Raises `DatasetError` when no image can be decoded, `ConfigError` for too many pixels.
    """
    numbers = range(len(images.paths))
    sizes_of = functools.partial(_sizes, images, config)
    found = list(in_threads(sizes_of, numbers, training_crops.default_threads()))
    whole = [number for number in numbers if found[number]]
    rows = [array for number in whole for array in found[number]]
    if sum(array.size for array in rows) > MOST_PIXELS:
        raise ConfigError(f"images of more than {MOST_PIXELS} pixels at {SIZES} sizes cannot be "
                          "kept on the devices; train without --resident")  # fmt: skip
    offsets = np.cumsum([0, *(array.size for array in rows[:-1])])
    chances = np.cumsum(np.diff(images.weights, prepend=0.0)[whole])
    pool = Pool(
        np.concatenate([array.ravel() for array in rows]),
        offsets.astype(np.int32).reshape(-1, SIZES),
        np.array([array.shape for array in rows], np.int32).reshape(-1, SIZES, 2),
        (chances / chances[-1]).astype(np.float32),
    )
    return pool, tuple(images.paths[number] for number in whole)


def _sizes(images: ImageDataset, config: TrainingConfig, number: int) -> list[np.ndarray]:
    """An image at all sizes, uint32 [rows, columns] each; an empty list for a broken one."""
    image = images.image(number, keep=False)
    if image is None:
        return []
    smallest = max(config.min_scale, config.crop / min(image.size))
    sizes = []
    for scale in np.linspace(1.0, smallest, SIZES):
        sides = tuple(max(config.crop, round(scale * side)) for side in image.size)
        reduced = image.resize(sides, Image.Resampling.LANCZOS)
        red, green, blue = np.moveaxis(np.asarray(reduced).astype(np.uint32), -1, 0)
        sizes.append(red | green << 8 | blue << 16)
    return sizes


def _drawn(pool: Pool, config: TrainingConfig, step: jax.Array, number: jax.Array) -> _Cut:
    """The position of crop `number` in the batch after `step` steps."""
    key = jax.random.fold_in(jax.random.key(config.seed), STREAM)
    key = jax.random.fold_in(jax.random.fold_in(key, step), number)
    chances = jax.random.uniform(key, (5,))
    last = len(pool.chances) - 1
    image = jnp.minimum(jnp.searchsorted(pool.chances, chances[0], side="right"), last)
    size = _whole(chances[1], SIZES)
    rows, columns = pool.sides[image, size]
    top = _whole(chances[2], rows - config.crop + 1)
    left = _whole(chances[3], columns - config.crop + 1)
    first = pool.offsets[image, size] + top * columns + left
    return _Cut(image, first, columns, chances[4] < 0.5)


def _whole(chance: jax.Array, count: Any) -> jax.Array:
    """One of 0 ... count - 1, from a random number in [0, 1)."""
    return jnp.minimum((chance * count).astype(jnp.int32), count - 1)


def cut(pool: Pool, config: TrainingConfig, step: jax.Array, numbers: jax.Array) -> jax.Array:
    """The crops with these numbers [B] of a step: uint8 [B, crop, crop, 3]."""

    def one(number: jax.Array) -> jax.Array:
        found = _drawn(pool, config, step, number)
        starts = found.first + found.width * jnp.arange(config.crop)
        row = functools.partial(jax.lax.dynamic_slice, pool.pixels, slice_sizes=(config.crop,))
        packed = jax.vmap(lambda start: row((start,)))(starts)
        packed = jnp.where(found.is_mirrored, packed[:, ::-1], packed)
        return jnp.stack([packed >> shift & 255 for shift in (0, 8, 16)], -1).astype(jnp.uint8)

    return jax.vmap(one)(numbers)


@functools.partial(compilation.jit, static_argnums=1)
def _image_of(pool: Pool, config: TrainingConfig, step: Any, number: Any) -> jax.Array:
    return _drawn(pool, config, step, number).image


class Reader:
    """A host's part of the batches of all steps from step 0 on, over its devices.

    Host h of n has crops h·B/n ... (h+1)·B/n - 1 of every batch of B. The state is the next
    step, as that of the iterators of `crops.batches`.
    """

    def __init__(
        self, images: ImageDataset, config: TrainingConfig, host: int = 0, hosts: int = 1
    ) -> None:
        """Decodes all images. Raises as `load` does, and `ConfigError` for unequal parts."""
        if config.batch_size % hosts:
            raise ConfigError(f"{hosts} hosts cannot share batches of {config.batch_size} crops")
        self.config = config
        self._step = 0
        pool, self._paths = load(images, config)
        self._pool = sharding.replicate(pool, config.parallel)
        self._layout = pool._replace(pixels=pool.pixels[:0])  # enough to find the file of a crop
        numbers = np.split(np.arange(config.batch_size, dtype=np.int32), hosts)[host]
        self._numbers = sharding.shard(numbers)
        self._cut = parallel.over_devices(
            lambda pool, step, numbers: cut(pool, config, step, numbers),
            config.parallel,
            axis_name=sharding.AXIS,
            in_axes=(0, None, 0),
        )

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> training_crops.Batch:
        """A batch with a device axis: numbers [D, B], crops uint8 [D, B, crop, crop, 3]."""
        if self._step >= self.config.most_steps:
            raise StopIteration
        crops = self._cut(self._pool, np.int32(self._step), self._numbers)
        self._step += 1
        return training_crops.Batch(self._numbers, crops)

    def get_state(self) -> Mapping[str, int]:
        return {"step": self._step}

    def set_state(self, state: Mapping[str, int]) -> None:
        self._step = int(state["step"])

    def source(self, step: int, number: int) -> ImageFile:
        """The file that crop `number` of the batch that follows `step` steps comes from."""
        return self._paths[int(_image_of(self._layout, self.config, step, number))]
