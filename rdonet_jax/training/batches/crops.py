"""Batches of random crops, cut on the host.

Crop number i of a run is a pure function of (seed, i): image, position, reduction and mirroring. So
a batch depends only on its step, a run can be resumed at any step, and the crops do not depend on
the number of devices, hosts and threads. If the drawn image is broken, the crop is drawn again from
(seed, i, attempt).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging.dataset import ImageDataset, ImageFile, in_threads
from rdonet_jax.runtime import processors
from rdonet_jax.training.config import TrainingConfig

if TYPE_CHECKING:
    import grain

MOST_THREADS = 16
"""More reading threads would mostly wait for each other in the interpreter."""

READY_BATCHES = 2
"""Finished batches in the queue while every thread prepares another one."""


class Batch(NamedTuple):
    """One host's part of the crops of a step."""

    numbers: Any  # int32 [B], of the crops in the whole batch of the step, over all hosts
    crops: Any  # uint8 [B, crop, crop, 3], of NumPy or JAX like the numbers


def crop_index(config: TrainingConfig, step: int, number: int) -> int:
    """The number in the run of crop `number` in the batch after `step` steps."""
    return int(step) * config.batch_size + int(number)


def random_crop(images: ImageDataset, config: TrainingConfig, index: int) -> np.ndarray:
    """Crop number `index` of the run, uint8 [crop, crop, 3], reduced (Lanczos) and maybe mirrored.

    Raises `DatasetError` when no image can be decoded.
    """
    _, image, rng = _draw(images, config, index)
    return _cut(image, config, rng)


def source(images: ImageDataset, config: TrainingConfig, index: int) -> ImageFile:
    """The file from which crop number `index` is cut. Raises as `random_crop` does."""
    number, _, _ = _draw(images, config, index)
    return images.paths[number]


def _draw(
    images: ImageDataset, config: TrainingConfig, index: int
) -> tuple[int, Image.Image, np.random.Generator]:
    """The index of the image of a crop, the image, and the generator for the other choices."""
    attempt = -1
    while True:
        attempt += 1
        bits = np.random.Philox(key=[config.seed, index], counter=[0, 0, 0, attempt])
        rng = np.random.Generator(bits)
        number = images.draw(rng.random())
        image = images.image(number)
        if image is not None:
            return number, image, rng


def _cut(image: Image.Image, config: TrainingConfig, rng: np.random.Generator) -> np.ndarray:
    """A random square of an image, reduced to the size of a crop."""
    crop = config.crop
    smallest = max(config.min_scale, crop / min(image.size))
    side = min(math.floor(crop / rng.uniform(smallest, 1.0)), min(image.size))
    left = int(rng.integers(image.width - side + 1))
    top = int(rng.integers(image.height - side + 1))
    box = (left, top, left + side, top + side)
    if side == crop:
        square = image.crop(box)
    else:
        square = image.resize((crop, crop), Image.Resampling.LANCZOS, box)
    if rng.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(square)


def require_reader() -> None:
    """Raises `ConfigError` where the package that reads ahead is not installed."""
    if importlib.util.find_spec("grain") is None:
        raise ConfigError(
            "training needs the package grain; pip install 'rdonet-jax[train]' brings it"
        )


def batches(
    images: ImageDataset,
    config: TrainingConfig,
    host: int = 0,
    hosts: int = 1,
    threads: int | None = None,
) -> grain.DatasetIterator[Batch]:
    """The host's part of the batches of all steps from step 0 on, prepared ahead by threads.

    Host h of n has crops h·B/n ... (h+1)·B/n - 1 of every batch of B. The state of the iterator is
    the next step, so it is the same on all hosts and does not depend on their number. Raises
    `ConfigError` if a batch cannot be divided over the hosts. The iterator raises `DatasetError`.
    """
    import grain  # here, since only training needs it

    if config.batch_size % hosts:
        raise ConfigError(f"{hosts} hosts cannot share batches of {config.batch_size} crops")
    numbers = np.split(np.arange(config.batch_size, dtype=np.int32), hosts)[host]
    steps = grain.MapDataset.range(config.most_steps)
    dataset = steps.map(functools.partial(_batch, images, config, numbers))
    threads = threads or default_threads()
    # One element of the dataset per step, so the position does not depend on the number of hosts.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + READY_BATCHES)
    return iter(dataset.to_iter_dataset(options))


@contextlib.contextmanager
def closing(reader: grain.DatasetIterator[Batch]) -> Iterator[grain.DatasetIterator[Batch]]:
    """Ends the threads of `batches`. In grain before 0.2.12 they end with the reader itself."""
    try:
        yield reader
    finally:
        if hasattr(reader, "close"):
            reader.close()


def default_threads() -> int:
    """The number of CPUs of this process minus one, which is left to the training."""
    return min(max(1, processors.usable() - 1), MOST_THREADS)


def _batch(images: ImageDataset, config: TrainingConfig, numbers: np.ndarray, step: int) -> Batch:
    crops = [random_crop(images, config, crop_index(config, step, n)) for n in numbers]
    return Batch(numbers, np.stack(crops))


def center_crops(images: ImageDataset, crop: int) -> np.ndarray:
    """One crop from the middle of each image, for validation: uint8 [N, crop, crop, 3].

    Broken images are skipped. Raises `DatasetError` if all are broken.
    """
    one = functools.partial(_center_crop, images, crop)
    crops = in_threads(one, range(len(images.paths)), default_threads())
    return np.stack([pixels for pixels in crops if pixels is not None])


def _center_crop(images: ImageDataset, crop: int, index: int) -> np.ndarray | None:
    image = images.image(index, keep=False)
    if image is None:
        return None
    left, top = (image.width - crop) // 2, (image.height - crop) // 2
    return np.asarray(image.crop((left, top, left + crop, top + crop)))
