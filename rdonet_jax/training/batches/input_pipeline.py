"""The batches of a run for this host's devices, cut by threads of the host or on the devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from rdonet_jax.imaging.dataset import ImageDataset, ImageFile
from rdonet_jax.training import sharding
from rdonet_jax.training.batches import crops, device_crops
from rdonet_jax.training.config import TrainingConfig


class BatchIterator:
    """Iterates over the batches of a run, each with a device axis. See `open_batches`.

    The position, a JSON object, is stored in checkpoints.
    """

    def __init__(self, reader: Any, images: ImageDataset, config: TrainingConfig) -> None:
        self._reader, self._images, self._config = reader, images, config

    def __next__(self) -> crops.Batch:
        batch = next(self._reader)
        return batch if self._config.resident else sharding.shard(batch)

    @property
    def position(self) -> Mapping[str, Any]:
        """The position before the next batch."""
        return self._reader.get_state()

    def go_to(self, position: Mapping[str, Any]) -> None:
        self._reader.set_state(position)

    def source(self, step: int, number: int) -> ImageFile:
        """The file that crop `number` of the batch that follows `step` steps comes from."""
        if self._config.resident:
            return self._reader.source(step, number)
        index = crops.crop_index(self._config, step, number)
        return crops.source(self._images, self._config, index)


@contextlib.contextmanager
def open_batches(images: ImageDataset, config: TrainingConfig) -> Iterator[BatchIterator]:
    """This host's part of the batches from step 0 on, cut on the devices if `config.resident`.

    Raises as `crops.batches` and `device_crops.Reader` do.
    """
    host, hosts = jax.process_index(), jax.process_count()
    if config.resident:
        yield BatchIterator(device_crops.Reader(images, config, host, hosts), images, config)
        return
    with crops.closing(crops.batches(images, config, host, hosts)) as reader:
        yield BatchIterator(reader, images, config)


def first_position(images: ImageDataset, config: TrainingConfig) -> Mapping[str, Any]:
    """The position before step 0."""
    if config.resident:
        return {"step": 0}
    with crops.closing(crops.batches(images, config)) as reader:
        return reader.get_state()
