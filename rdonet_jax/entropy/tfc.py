"""TensorFlow Compression's range coder, for `range_coder`: entries of integer tables <-> bytes.

Its ops take entries and table indices together and code a run in its own order. They have an escape
code of their own, which a negative precision switches on. It is not used, because its loops can run
almost forever: in the encoder for values from 2**30 on, in the decoder for data as short as the
bytes FF FF. The escapes of `range_coder` code every 32-bit symbol, and their work depends on the
table indices alone. Without the ops' own escapes, any bytes decode to some entries.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from rdonet_jax.entropy.distributions import PRECISION, CdfTables

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


class LoadError(Exception):
    """Why TensorFlow Compression cannot be used, as the predicate of a sentence about it."""


@functools.cache
def load() -> tuple[ModuleType, ModuleType]:
    """TensorFlow and the ops of TensorFlow Compression; the first call takes seconds.

    TensorFlow is set to print nothing and to use no GPUs, whose memory is for JAX. Raises
    LoadError.
    """
    try:
        with _silence():
            import tensorflow
            import tensorflow_compression_ops
    except ModuleNotFoundError as error:
        raise LoadError("is not installed") from error
    except Exception as error:  # incompatible versions of TensorFlow, NumPy, Protobuf raise many
        reason = str(error).strip().partition("\n")[0]
        raise LoadError(f"cannot be loaded ({reason})") from error
    # Raises if the caller already uses TensorFlow, whose devices are then left as they are.
    with contextlib.suppress(RuntimeError):
        tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow, tensorflow_compression_ops


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Sets the log level that TensorFlow reads when imported, and restores that of JAX."""
    before = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = "3"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_LOG_LEVEL]
        else:
            os.environ[_LOG_LEVEL] = before


@functools.lru_cache(maxsize=16)
def _lookup(tables: CdfTables) -> Any:
    """The tables in a row, each after its precision, as the ops take them."""
    tensorflow, _ = load()
    return tensorflow.constant(np.concatenate([[PRECISION, *cdf] for cdf in tables.cdfs]), "int32")


def encode_entries(entry_runs: Iterable[tuple[np.ndarray, np.ndarray]], tables: CdfTables) -> bytes:
    """Codes runs of (entries, table indices)."""
    _, ops = load()
    runs = [run for run in entry_runs if len(run[0])]
    if not runs:
        return b""
    entries, indices = (np.concatenate(part).astype(np.int32) for part in zip(*runs, strict=True))
    handle = ops.create_range_encoder([], _lookup(tables))
    handle = ops.entropy_encode_index(handle, indices, entries)
    # The decoder takes bytes past the end as zeros, so zeros at the end are not needed.
    return ops.entropy_encode_finalize(handle).numpy().rstrip(b"\0")


def entry_decoder(data: bytes, tables: CdfTables) -> Callable[[np.ndarray], np.ndarray]:
    """Returns read(table indices of the next run) -> its entries."""
    tensorflow, ops = load()
    handle = ops.create_range_decoder(tensorflow.constant(data), _lookup(tables))

    def read(indices: np.ndarray) -> np.ndarray:
        if not len(indices):
            return np.zeros(0, np.int32)
        # The handle is a decoder with a position, which this call advances.
        _, entries = ops.entropy_decode_index(
            handle, indices.astype(np.int32), [len(indices)], tensorflow.int32
        )
        return entries.numpy().astype(np.int32)

    return read
