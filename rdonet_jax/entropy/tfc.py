"""TensorFlow Compression's range coder, for `coder`: entries of integer tables to bytes and back.

Its ops take entries and table indices together, so a run is coded in its own order. They have a
code of their own for what a table does not hold, which a negative precision switches on. It is not
used, since its loops have no end where they need one: the encoder's for values from 2**30 on, the
decoder's for data as short as the bytes FF FF. Escapes are those of `coder` instead, which hold
every 32-bit symbol and make no more work than the indices ask for. Without that code any bytes
decode to some entries.
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
    """Why TensorFlow Compression cannot be used, as words that go on from its name."""


@functools.cache
def load() -> tuple[ModuleType, ModuleType]:
    """TensorFlow and the ops of TensorFlow Compression; the first call takes seconds.

    TensorFlow is told to print nothing and to leave GPUs alone, whose memory is JAX's. Raises
    LoadError.
    """
    try:
        with _silence():
            import tensorflow
            import tensorflow_compression_ops
    except ModuleNotFoundError as error:
        raise LoadError("is not installed") from error
    except Exception as error:  # what other versions of TensorFlow, NumPy or Protobuf lead to
        reason = str(error).strip().partition("\n")[0]
        raise LoadError(f"cannot be loaded ({reason})") from error
    # It refuses when the caller's own TensorFlow already runs, with the devices that it was given.
    with contextlib.suppress(RuntimeError):
        tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow, tensorflow_compression_ops


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """TensorFlow remembers the level that it finds while it is imported; JAX has set its own."""
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
    """The tables in a row, each after its precision, as the ops want them."""
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
    # Bytes past the end count as zeros, so those at the end say nothing.
    return ops.entropy_encode_finalize(handle).numpy().rstrip(b"\0")


def entry_decoder(data: bytes, tables: CdfTables) -> Callable[[np.ndarray], np.ndarray]:
    """take(indices) -> the entries of the next run."""
    tensorflow, ops = load()
    handle = ops.create_range_decoder(tensorflow.constant(data), _lookup(tables))

    def take(indices: np.ndarray) -> np.ndarray:
        if not len(indices):
            return np.zeros(0, np.int32)
        # The handle stands for one decoder, which goes on from where it is.
        _, entries = ops.entropy_decode_index(
            handle, indices.astype(np.int32), [len(indices)], tensorflow.int32
        )
        return entries.numpy().astype(np.int32)

    return take
