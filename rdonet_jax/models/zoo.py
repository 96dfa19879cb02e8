"""Loads weights by name or by path and checks their hash; writes weights files.

A weights file is a safetensors file: the parameters in half precision under their path in the
tree, or their large kernels packed (`rdonet_jax.models.packing`), and as metadata the model's name,
its configuration and the record of its training. Its name ends in the first eight bytes of its
SHA-256. The first four identify the weights in every compressed file.

The files of portable models and of baselines also hold the range coder's cumulative tables, as
integers: decoding must not depend on the exponential function of a library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save as serialize

from rdonet_jax.core.cached import ProcessLock, cached_property
from rdonet_jax.core.config import WEIGHTS_BYTES, AnyConfig, UnregisteredError
from rdonet_jax.core.json_values import short_repr, truncate
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.models import packing, param_tree, registry, weights_file
from rdonet_jax.models.step_batches import StepBatches
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.models.weights_file import METADATA_KEY, WeightsError
from rdonet_jax.runtime.platform import PlatformError, require_platform
from rdonet_jax.storage import files, url_cache, urls

SUFFIX = ".safetensors"
HASH_BYTES = 8
"""Bytes of the SHA-256 in the name of a weights file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TABLES = ("tables/cumulative", "tables/entries", "tables/offsets")
"""Integer tensors in the file of a model that stores its tables: the cumulative counts of all
tables in a row, without the final 65536 of each; the entry count of each; its first symbol."""


class ZooError(ValueError):
    """A model that does not exist, or a weights file that is invalid or damaged."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights. Copies and pickles of it have no `batches`.

    Attributes:
      params: the parameters, a tree of float32 arrays of NumPy.
      digest: the first `WEIGHTS_BYTES` of the SHA-256 of the weights file.
      record: how it was trained.
      tables: of the range coder, see `Family.coder_tables`.
      batches: where JAX computes the steps of images that several threads code; None: each image
        alone. For portable models.
    """

    name: str
    config: AnyConfig
    params: Any = dataclasses.field(repr=False)
    digest: bytes
    record: TrainingRecord = dataclasses.field(repr=False)
    tables: CdfTables = dataclasses.field(repr=False)
    batches: StepBatches | None = None
    _placing: ProcessLock = dataclasses.field(default_factory=ProcessLock, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, without what belongs to the threads and the devices of this process."""
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del state["_placing"]
        return {**state, "batches": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _placing=ProcessLock())

    @property
    def device_params(self) -> Any:
        """The parameters on the default device of JAX. Raises `PlatformError`."""
        with self._placing:  # threads that begin at the same time share one copy
            return self._placed_params

    @cached_property
    def _placed_params(self) -> Any:
        import jax

        require_platform()
        # Placed there once, or every compiled step would do it again. `jnp.asarray` would compile a
        # function for each of the shapes.
        return jax.device_put(self.params)

    def replace(self, **changes: Any) -> Model:
        """A model with other values of these attributes."""
        return dataclasses.replace(self, **changes)


PURPOSES = {
    "standard": "for most photographs",
    "wide": "for photographs of higher quality than standard reaches; takes longer",
}
"""What the bundled models are for, by name."""


def bundled() -> dict[str, Path]:
    """The weights files that come with the package and compress, by model name.

    Raises `ZooError` when two of them have one name.
    """
    paths: dict[str, Path] = {}
    for path in _weights_in("weights"):
        name, _ = name_and_hash(path)
        if name in paths:
            raise ZooError(f"{path.parent}: holds both {paths[name].name} and {path.name}")
        paths[name] = path
    return paths


def earlier() -> dict[str, Path]:
    """The weights files of earlier releases, by NAME-HASH: files of these models stay readable."""
    return {path.stem: path for path in _weights_in("weights/earlier")}


def _weights_in(folder: str) -> list[Path]:
    return sorted(Path(str(resources.files("rdonet_jax") / folder)).glob(f"*{SUFFIX}"))


def name_and_hash(path: Path) -> tuple[str, str]:
    """The model's name and the hash in hex, from the name of a weights file: NAME-HASH."""
    name, _, digest = path.stem.rpartition("-")
    return name, digest


def find(digest: bytes) -> Path | None:
    """The bundled or earlier weights file whose hash starts with `digest`; None if there is none.

    Raises `ZooError` when two bundled models have one name.
    """
    for path in (*bundled().values(), *earlier().values()):
        if name_and_hash(path)[1].startswith(digest.hex()):
            return path
    return None


def list_models() -> tuple[str, ...]:
    """The names of the bundled models. Raises `ZooError` when two of them have one name."""
    return tuple(bundled())


def load(name_or_path: str | os.PathLike[str]) -> Model:
    """The bundled model of that name, an earlier one by NAME-HASH, or the one of a weights file.

    The file may be at a URL. Raises `ZooError` when there is no such model, or the file is damaged,
    and `UrlError`.
    """
    try:
        name = os.fsdecode(name_or_path)
    except TypeError as error:
        raise ZooError(f"no model {name_or_path!r}: it is neither a name nor a path") from error
    if urls.is_url(name):
        return _read(url_cache.file(name))
    bundled_paths = bundled()
    path = {**earlier(), **bundled_paths}.get(name, Path(name))
    if not os.path.isfile(path):  # unlike Path.is_file, never raises, however long the name
        names = ", ".join(bundled_paths) or "none"
        raise ZooError(f"no model {name!r}: it is no weights file, and bundled are: {names}")
    return _read(path)


def config_of(path: Path) -> AnyConfig:
    """The configuration in a weights file, without its weights. Raises `ZooError`."""
    with _as_zoo_errors(path):
        status = path.stat()
    return _config_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _config_of(path: Path, size: int, changed: int) -> AnyConfig:
    """Reading it takes as long as the description of a small file; many may be described."""
    with _open(path) as tensors:
        return weights_file.metadata(tensors).config


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Opens a weights file, and raises `ZooError` for whatever is wrong with it."""
    with _as_zoo_errors(path), safetensors.safe_open(path, framework="numpy") as tensors:
        yield tensors


@contextlib.contextmanager
def _as_zoo_errors(path: Path) -> Iterator[None]:
    """Turns the errors of reading a weights file into `ZooError`."""
    try:
        yield
    except PlatformError:  # of the network's shapes; the file may be well
        raise
    except WeightsError as error:
        raise ZooError(f"{path}: is no weights file of rdonet_jax: {error}") from error
    except UnregisteredError as error:
        raise ZooError(f"{path}: {truncate(str(error))}") from error
    except OSError as error:
        raise ZooError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        cause = truncate(str(error))
        raise ZooError(f"{path}: is no weights file of rdonet_jax ({cause})") from error


def _digest(path: Path) -> bytes:
    """The SHA-256 of a weights file. Raises `ZooError` if the file's name has another hash."""
    with _as_zoo_errors(path):
        digest = weights_file.digest_of(path)
    actual, claimed = digest[:HASH_BYTES].hex(), name_and_hash(path)[1]
    if claimed != actual:
        raise ZooError(
            f"{path}: damaged or renamed, its hash is {actual}, not {short_repr(claimed)}"
        )
    return digest


def _read(path: Path) -> Model:
    """The model of a weights file."""
    digest = _digest(path)
    with _open(path) as tensors:
        name, config, record = weights_file.metadata(tensors)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise WeightsError(
                f"it holds a model of the name {short_repr(name)}, which no model may have"
            )
        family = registry.family_of(config)
        table_keys = _TABLES if family.stores_tables else ()
        max_numbers = family.table_count(config) * distributions.TOTAL
        weights_file.require_network(tensors, _shapes(config), table_keys, max_numbers)
        flat = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
        flat = packing.unpack(flat)
    try:
        tables = _pop_tables(config, flat)
    except ValueError as error:
        raise ZooError(f"{path}: holds no tables for a range coder: {error}") from error
    if not all(np.isfinite(value).all() for value in flat.values()):
        raise ZooError(f"{path}: has weights that are not finite")
    params = param_tree.unflatten(
        {key: value.astype(np.float32, copy=False) for key, value in flat.items()}
    )
    return Model(name, config, params, digest[:WEIGHTS_BYTES], record, tables)


def _pop_tables(config: AnyConfig, flat: dict[str, np.ndarray]) -> CdfTables:
    """The model's tables. Removes their tensors from `flat`, if the family stores tables.

    Raises `ValueError` for tensors that are no valid tables.
    """
    if not registry.family_of(config).stores_tables:
        return registry.family_of(config).coder_tables(config, None)
    missing = [key for key in _TABLES if key not in flat]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    tensors = [flat.pop(key) for key in _TABLES]
    if any(tensor.ndim != 1 or tensor.dtype.kind not in "iu" for tensor in tensors):
        raise ValueError("they are not rows of integers")
    cumulative, entries, offsets = (tensor.astype(np.int64) for tensor in tensors)
    count = registry.family_of(config).table_count(config)
    if not len(entries) == len(offsets) == count:
        raise ValueError(f"there are {len(entries)} and {len(offsets)}, not {count}")
    # At least a symbol and the escape. The upper bound keeps the sum from overflowing.
    if np.any((entries < 2) | (entries > distributions.TOTAL)) or entries.sum() != len(cumulative):
        raise ValueError(f"their sizes do not add up to the {len(cumulative)} numbers there are")
    if np.any((offsets > 0) | (offsets + entries < 2)):
        raise ValueError("not all of them hold the symbol 0")
    parts = np.split(cumulative, np.cumsum(entries)[:-1])
    int64_cdfs = [np.append(part, distributions.TOTAL) for part in parts]
    if any(cdf[0] != 0 or np.any(cdf[1:] <= cdf[:-1]) for cdf in int64_cdfs):
        raise ValueError(f"not all of them rise from 0 to {distributions.TOTAL}")
    cdfs = tuple(cdf.astype(np.int32) for cdf in int64_cdfs)
    return CdfTables(cdfs, tuple(offsets.tolist()), has_escape=True)


def _table_tensors(config: AnyConfig, half: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors that `_pop_tables` reads; none for a family that stores no tables.

    `half` are the parameters in half precision, as in the file.
    """
    if not registry.family_of(config).stores_tables:
        return {}
    tables = registry.family_of(config).coder_tables(config, param_tree.unflatten(half))
    cumulative = np.concatenate([cdf[:-1] for cdf in tables.cdfs]).astype(np.uint16)
    entries = np.array([len(cdf) - 1 for cdf in tables.cdfs], np.uint16)
    return dict(
        zip(_TABLES, (cumulative, entries, np.array(tables.offsets, np.int32)), strict=True)
    )


@functools.cache
def _shapes(config: AnyConfig) -> Mapping[str, tuple[int, ...]]:
    """The shapes of a network's parameters by their path."""
    return registry.family_of(config).param_shapes(config)


def require_name(name: str) -> None:
    """Raises `ZooError` for what cannot be the name of a model."""
    if not name.isidentifier() or not _NAME.fullmatch(name):
        raise ZooError(
            "a model name is made of up to 64 letters, digits and underscores and begins with a "
            f"letter, not {name!r}"
        )


def save(
    folder: str | Path,
    name: str,
    config: AnyConfig,
    params: Any,
    record: Mapping[str, Any],
    pack: bool = False,
) -> str | Path:
    """Writes NAME-HASH.safetensors in half precision, atomically; returns its path, or its URL.

    With `pack`, large kernels are quantized further and take less than half the bytes. `record` is
    the JSON of how the model was trained (`TrainingRecord.stored`).

    Raises `ZooError` for an invalid name, and for weights that are not finite in half precision.
    """
    require_name(name)
    flat = {path: np.asarray(leaf) for path, leaf in param_tree.flatten(params).items()}
    with np.errstate(over="ignore"):
        # In C order: safetensors writes the memory of an array as it lies.
        half = {key: value.astype(np.float16, order="C") for key, value in sorted(flat.items())}
    if not all(np.isfinite(value).all() for value in half.values()):
        raise ZooError(f"{name}: has weights that are not finite in half precision")
    metadata = {"name": name, "config": registry.to_dict(config), "record": dict(record)}
    tensors = {**half, **_table_tensors(config, half)}
    if pack:
        for key in [key for key, value in flat.items() if packing.is_packable(key, value)]:
            kernel = tensors.pop(key).astype(np.float32)
            steps = registry.family_of(config).kernel_steps(key, kernel)
            tensors |= packing.pack(key, kernel, steps)
    content = serialize(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    digest = hashlib.sha256(content).digest()[:HASH_BYTES]
    file_name = f"{name}-{digest.hex()}{SUFFIX}"
    if urls.is_url(folder):
        target = urls.join(str(folder), file_name)
        urls.write(target, content)
        return target
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / file_name
    files.replace(path, lambda file: file.write(content))
    return path
