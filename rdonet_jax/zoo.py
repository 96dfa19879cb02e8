"""Weights by name or by path, checked by their hash.

A weights file is a safetensors file: the parameters in half precision under their path in the
tree, and as metadata the model's name, its configuration and the record of its training. The first
eight bytes of the file's SHA-256 identify it in every compressed file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save as serialise

from rdonet_jax import bitstream, files
from rdonet_jax.config import AnyConfig, model_from_dict
from rdonet_jax.models import families

SUFFIX = ".safetensors"
DIGEST_BYTES = 8
METADATA_KEY = "rdonet_jax"
"""The one entry of the file's metadata (the format does not keep the order of several): JSON."""


class ZooError(ValueError):
    """A model that is not there, or a weights file that is not what it claims to be."""


class Model(NamedTuple):
    """A network with its weights."""

    name: str
    config: AnyConfig
    params: Any  # float32, on the device
    digest: bytes  # first 8 bytes of the weights file's SHA-256
    record: Mapping[str, Any]  # how it was trained


def bundled() -> dict[str, Path]:
    """The weights files that come with the package, by model name.

    Raises `ZooError` when two of them have one name.
    """
    folder = Path(str(resources.files("rdonet_jax") / "weights"))
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        name, _ = name_and_hash(path)
        if name in found:
            raise ZooError(f"{folder}: holds both {found[name].name} and {path.name}")
        found[name] = path
    return found


def name_and_hash(path: Path) -> tuple[str, str]:
    """What a weights file is called, NAME-HASH, in two: the model's name and the hash in hex."""
    name, _, digest = path.stem.rpartition("-")
    return name, digest


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
    _, claimed = name_and_hash(path)
    if claimed != digest.hex():
        raise ZooError(f"{path}: damaged or renamed, its hash is {digest.hex()}, not {claimed}")
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            metadata = json.loads(tensors.metadata()[METADATA_KEY])
            flat = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
        config = model_from_dict(metadata["config"])
        name, record = metadata["name"], metadata["record"]
        expected = _shapes(config)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ZooError(f"{path}: is no weights file of rdonet_jax ({error})") from error
    if not isinstance(name, str) or not bitstream.is_legal_name(name):
        raise ZooError(f"{path}: holds a model of the name {name!r}, which no file can carry")
    if wrong := _difference({key: value.shape for key, value in flat.items()}, expected):
        raise ZooError(f"{path}: does not hold the network of its configuration: {wrong}")
    # Placed on the device here, once: every compiled step would do it anew otherwise.
    params = {key: jnp.asarray(value.astype(np.float32)) for key, value in flat.items()}
    return Model(name, config, unflatten_dict(params, sep="/"), digest, record)


@functools.cache
def _shapes(config: AnyConfig) -> Mapping[str, tuple[int, ...]]:
    """The shapes of a network's parameters by their path."""
    tree = jax.eval_shape(functools.partial(families.initialise, config), jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


def _difference(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Words for the first parameter, by name, that is missing, unknown or of another shape."""
    for name in sorted({*found, *expected}):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is unknown to it"
        if found[name] != expected[name]:
            return f"{name} has the shape {list(found[name])}, not {list(expected[name])}"
    return None


def save(
    folder: Path, name: str, config: AnyConfig, params: Any, record: Mapping[str, Any]
) -> Path:
    """Writes NAME-HASH.safetensors in half precision, whole or not at all; returns its path.

    Raises `ZooError` for a name that cannot be told from its hash, or weights that half precision
    cannot hold.
    """
    if not name.isidentifier() or not bitstream.is_legal_name(name):
        raise ZooError(
            "a model name is made of up to 64 letters, digits and underscores and begins with a "
            f"letter, not {name!r}"
        )
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
    files.replace(path, lambda file: file.write(content))
    return path
