"""Weights by name or by path, checked by their hash.

A weights file is a safetensors file: the parameters in half precision under their path in the
tree, and as metadata the model's name, its configuration and the record of its training. The first
eight bytes of the file's SHA-256 identify it in every compressed file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save as serialise

from rdonet_jax.config import ModelConfig, from_dict

SUFFIX = ".safetensors"
DIGEST_BYTES = 8
METADATA_KEY = "rdonet_jax"
"""The one entry of the file's metadata (the format does not keep the order of several): JSON."""


class ZooError(ValueError):
    """A model that is not there, or a weights file that is not what it claims to be."""


class Model(NamedTuple):
    """A network with its weights."""

    name: str
    config: ModelConfig
    params: Any  # float32
    digest: bytes  # first 8 bytes of the weights file's SHA-256
    record: Mapping[str, Any]  # how it was trained


def bundled() -> dict[str, Path]:
    """The weights files that come with the package, by model name."""
    folder = Path(str(resources.files("rdonet_jax") / "weights"))
    return {path.name.rsplit("-", 1)[0]: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def load(name: str) -> Model:
    """The bundled model of that name, or the one of a weights file.

    Raises `ZooError` when there is no such model, or the file is damaged.
    """
    path = bundled().get(name)
    if path is None:
        path = Path(name)
        if not path.is_file():
            names = ", ".join(bundled()) or "none"
            raise ZooError(f"no model {name!r}: it is no weights file, and bundled are: {names}")
    return _read(path)


def _read(path: Path) -> Model:
    content = path.read_bytes()
    digest = hashlib.sha256(content).digest()[:DIGEST_BYTES]
    claimed = path.stem.rsplit("-", 1)[-1]
    if claimed != digest.hex():
        raise ZooError(f"{path}: damaged or renamed, its hash is {digest.hex()}, not {claimed}")
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            metadata = json.loads(tensors.metadata()[METADATA_KEY])
            flat = {key: tensors.get_tensor(key).astype(np.float32) for key in tensors.keys()}  # noqa: SIM118
        config = from_dict(ModelConfig, metadata["config"])
        name, record = metadata["name"], metadata["record"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ZooError(f"{path}: is no weights file of rdonet_jax ({error})") from error
    return Model(name, config, unflatten_dict(flat, sep="/"), digest, record)


def save(
    folder: Path, name: str, config: ModelConfig, params: Any, record: Mapping[str, Any]
) -> Path:
    """Writes NAME-HASH.safetensors in half precision and returns its path.

    Raises `ZooError` for a name that cannot be told from its hash, or weights that half precision
    cannot hold.
    """
    if not name.isidentifier() or not name.isascii():
        raise ZooError(f"a model name is made of letters, digits and underscores, not {name!r}")
    flat = flatten_dict(jax.tree_util.tree_map(np.asarray, params), sep="/")
    with np.errstate(over="ignore"):
        half = {key: value.astype(np.float16) for key, value in sorted(flat.items())}
    if not all(np.isfinite(value).all() for value in half.values()):
        raise ZooError(f"{name}: has weights that are not finite in half precision")
    metadata = {"name": name, "config": dataclasses.asdict(config), "record": dict(record)}
    content = serialise(half, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    digest = hashlib.sha256(content).digest()[:DIGEST_BYTES]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{digest.hex()}{SUFFIX}"
    path.write_bytes(content)
    return path
