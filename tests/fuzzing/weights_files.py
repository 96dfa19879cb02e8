"""Weights files that somebody made to do harm: valid ones, changed with knowledge of the format.

Loading one gives a model or raises `ZooError`. A model that loads codes an image, or refuses to
with `EncodeError`. It decodes what it has coded.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rdonet_jax.cli.commands import describe
from rdonet_jax.codec import codec, image_quality
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import partition, presets
from rdonet_jax.models import param_tree, registry, weights_file, zoo
from rdonet_jax.models.zoo import Model
from tests.fuzzing import byte_changes, compressed_files

_LENGTH_BYTES = 8
"""Of the length of the header, at the beginning of a safetensors file."""

IMAGE_SIZE = (40, 72)
"""Height and width of the image that a model which loads has to code."""

REGIONS_OF, OFFSETS = 4, np.array([[0, 9]])
"""One image of so many has these quality offsets of its blocks."""

Parts = tuple[dict[str, Any], bytes]
"""The header of a safetensors file, and the bytes of its tensors."""


def parts_of(data: bytes) -> Parts:
    """Header and tensors of a safetensors file."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    return json.loads(data[_LENGTH_BYTES:end]), data[end:]


def joined(parts: Parts) -> bytes:
    """The file of header and tensors."""
    header = json.dumps(parts[0]).encode()
    return len(header).to_bytes(_LENGTH_BYTES, "little") + header + parts[1]


def _any_json(chance: random.Random, depth: int = 0) -> Any:
    """A value that is likely to be wrong where it stands."""
    values: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.choice((-1, 0, 1, 2, 2**31, 2**63, 2**64, 10**30, -(10**400))),
        lambda: chance.choice((math.nan, math.inf, -math.inf, 1e308, 1e-308, 0.5, -0.0)),
        lambda: chance.choice(
            ("", "x" * 10_000, "\x1b[31m", "../../x", "laplace", "\ud800", "mini")
        ),
        lambda: [_any_json(chance, depth + 1) for _ in range(chance.randrange(5))],
        lambda: {str(_any_json(chance, 9))[:20]: _any_json(chance, depth + 1)},
        lambda: [[1]] * chance.choice((1, 1000)),
    )
    return values[chance.randrange(len(values) if depth < 3 else 5)]()


def _change_length(chance: random.Random, parts: Parts) -> bytes:
    data = joined(parts)
    right = len(data) - len(parts[1]) - _LENGTH_BYTES
    claims = (0, 1, right - 1, right + 1, right + 64, 2**20, 2**20 + 1, 2**32, 2**63, 2**64 - 1)
    return chance.choice(claims).to_bytes(_LENGTH_BYTES, "little") + data[_LENGTH_BYTES:]


def _change_text(chance: random.Random, parts: Parts) -> bytes:
    """Bytes of the header, whose length stays right."""
    text = bytearray(json.dumps(parts[0]).encode())
    for _ in range(chance.choice((1, 1, 2, 5))):
        position = chance.randrange(len(text))
        new = chance.choice((b"[", b"]", b"{", b"}", b'"', b",", b"9" * 30, b"-", b"e", b"\\u0000"))
        text[position : position + chance.randrange(3)] = new
    return len(text).to_bytes(_LENGTH_BYTES, "little") + bytes(text) + parts[1]


def _change_metadata(chance: random.Random, parts: Parts) -> bytes:
    """Another value somewhere in name, configuration or record."""
    header = copy.deepcopy(parts[0])
    values = json.loads(header["__metadata__"][weights_file.METADATA_KEY])
    place = values
    key = chance.choice(("config", "config", "config", "record", "name"))
    while isinstance(place.get(key), dict) and place[key] and chance.random() < 0.9:
        place = place[key]
        key = chance.choice(sorted(place))
    if chance.random() < 0.1:
        place[str(_any_json(chance, 9))[:40]] = _any_json(chance)
    elif chance.random() < 0.3 and isinstance(place.get(key), int):
        place[key] = chance.choice((place[key] + 1, 2 * place[key], -place[key], 4096, 10**9))
    elif chance.random() < 0.1:
        place.pop(key, None)
    else:
        place[key] = _any_json(chance)
    header["__metadata__"] = {weights_file.METADATA_KEY: json.dumps(values)}
    return joined((header, parts[1]))


def _change_entry(chance: random.Random, parts: Parts) -> bytes:
    """Type, shape, offsets or name of a tensor."""
    header = dict(parts[0])
    names = sorted(header.keys() - {"__metadata__"})
    name, other = chance.choice(names), chance.choice(names)
    entry = copy.deepcopy(header.pop(name))
    change = chance.randrange(7)
    if change == 0:
        types = (*weights_file.TYPES, "F64", "BF16", "BOOL", "F8_E4M3", "C64", "")
        entry["dtype"] = chance.choice(types)
    elif change == 1:
        entry["shape"] = chance.choice(
            (entry["shape"][::-1], [*entry["shape"], 1], [], [0], [2**63], [2**32] * 3, [-1], 7)
        )
    elif change == 2:
        entry["data_offsets"] = chance.choice(
            (header.get(other, entry)["data_offsets"], [0, 0], [5, 1], [0, 2**64 - 1], [-1, 2], [])
        )
    elif change == 3:
        name = chance.choice((other, "\x1b[31m" * 9, "", "a/kernel/shape", "tables/cumulative"))
    elif change == 4:
        return joined((header, parts[1]))
    elif change == 5:
        header["more"] = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
    else:
        entry[chance.choice(("dtype", "shape", "data_offsets", "new"))] = _any_json(chance)
    return joined((header | {name: entry}, parts[1]))


def _change_numbers(chance: random.Random, parts: Parts) -> bytes:
    """NaN, infinities, extremes or noise in a tensor."""
    header, body = parts
    entry = header[chance.choice(sorted(header.keys() - {"__metadata__"}))]
    first, last = entry["data_offsets"]
    size = {"F16": 2, "F32": 4}.get(entry["dtype"], 1)
    patterns = {
        2: (b"\x00\x7e", b"\x00\x7c", b"\x00\xfc", b"\xff\x7b", b"\xff\xfb", b"\x01\x00"),
        4: (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x01\x00\x00\x00"),
        1: (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"),
    }[size]
    count = (last - first) // size
    if not count:
        return joined(parts)
    changed = bytearray(body)
    some = chance.choice((1, 1, 3, count))
    pattern = chance.choice((*patterns, chance.randbytes(size)))
    begin = chance.randrange(count)
    end = min(count, begin + some)
    changed[first + begin * size : first + end * size] = pattern * (end - begin)
    return joined((header, bytes(changed)))


def _change_bytes(chance: random.Random, parts: Parts) -> bytes:
    data = joined(parts)
    return chance.choice(byte_changes.CHANGES)(chance, data, [data])


def _put_bomb(chance: random.Random, parts: Parts) -> bytes:
    """A packed kernel that inflates to far more than its network has."""
    header = copy.deepcopy(parts[0])
    names = [name for name in sorted(header) if name.endswith("/folded")]
    if not names:
        return _change_entry(chance, parts)
    bomb = chance.choice(_BOMBS)
    entry, body = header[chance.choice(names)], parts[1]
    entry["shape"] = [len(bomb)]
    entry["data_offsets"] = [len(body), len(body) + len(bomb)]
    return joined((_without_gap(header, body + bomb), _compacted(header, body + bomb)))


def _in_order(header: dict[str, Any]) -> list[str]:
    names = [name for name in header if name != "__metadata__"]
    return sorted(names, key=lambda name: header[name]["data_offsets"])


def _without_gap(header: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The header of `_compacted`: safetensors allows no bytes between tensors."""
    result, position = {"__metadata__": header["__metadata__"]}, 0
    for name in _in_order(header):
        first, last = header[name]["data_offsets"]
        result[name] = header[name] | {"data_offsets": [position, position + last - first]}
        position += last - first
    return result


def _compacted(header: dict[str, Any], body: bytes) -> bytes:
    return b"".join(body[slice(*header[name]["data_offsets"])] for name in _in_order(header))


_BOMBS = tuple(2 * zlib.compress(bytes([value]) * 2**24, 9) for value in (0, 1, 255))
CHANGES = (
    *(_change_length, _change_text, _change_metadata, _change_metadata, _change_metadata),
    *(_change_entry, _change_numbers, _change_numbers, _change_bytes, _put_bomb),
)


def saved(folder: Path, preset: Any, pack: bool) -> bytes:
    """The file of a network of random weights."""
    rng = np.random.default_rng(0)
    shapes = registry.family_of(preset).param_shapes(preset)
    flat = {name: 0.05 * rng.normal(size=shape) for name, shape in sorted(shapes.items())}
    params = {name: value.astype(np.float32) for name, value in flat.items()}
    tree = param_tree.unflatten(params)
    record = {"training": {"lmbda": 0.01, "steps": 10}, "origin": {}}
    return zoo.save(folder, "base", preset, tree, record, pack).read_bytes()


class WeightsFiles:
    """Mutated weights files, as a subject of the long runs."""

    def __init__(self, bases: list[bytes], folder: Path) -> None:
        self._bases = [parts_of(data) for data in bases]
        self._folder = folder
        height, width = IMAGE_SIZE
        rng = np.random.default_rng(0)
        self._image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        self._partition = partition.uniform(0, partition.block_grid(height, width))

    def mutated(self, number: int) -> bytes:
        """Input `number`."""
        chance = random.Random(number)
        data = joined(chance.choice(self._bases))
        for _ in range(chance.choice((1, 1, 1, 2))):
            try:
                parts = parts_of(data)
                data = chance.choice(CHANGES)(chance, parts)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                data = chance.choice(byte_changes.CHANGES)(chance, data, [data])
        return data

    def outcome(self, number: int, data: bytes) -> str:
        """What becomes of an input, in words; raises if it is none of what is allowed."""
        digest = hashlib.sha256(data).hexdigest()[: 2 * zoo.HASH_BYTES]
        path = self._folder / f"x-{digest if number % 50 else '0' * 16}{zoo.SUFFIX}"
        path.write_bytes(data)
        try:
            model = zoo.load(path)
        except zoo.ZooError as error:
            message = str(error).removeprefix(f"{path}: ")
            assert message != str(error) and len(message) < 400 + len(str(path)), message
            for start in ("is no weights file of rdonet_jax", ": ", "it does not hold the network"):
                message = message.removeprefix(start)
            return compressed_files.first_words(message)
        finally:
            path.unlink()
        describe.of_model(model)
        return self._coded(model, OFFSETS if number % REGIONS_OF == 0 else None)

    def _coded(self, model: Model, offsets: np.ndarray | None) -> str:
        if not registry.family_of(model.config).variable_rate:
            return "loaded"  # what JAX compiles anew for every network is not run
        gains = image_quality.ImageQuality(model.config, None, offsets).gains
        try:
            encoded = codec.encode(
                model, self._image, self._partition, 50.0, engine="numpy", gains=gains
            )
        except EncodeError as error:
            return "loaded, refuses to code: " + compressed_files.first_words(str(error))
        try:
            decoded = codec.decode(model, encoded.data, engine="numpy")
        except FormatError as error:
            raise AssertionError(f"its own file is refused: {error}") from error
        assert np.array_equal(decoded.image, encoded.image)
        return "loaded and coded"


def bases(folder: Path, mini: Path) -> list[bytes]:
    """Files of every family, packed and not."""
    return [
        mini.read_bytes(),
        saved(folder, presets.mini(), pack=True),
        saved(folder, presets.tiny(), pack=True),
        saved(folder, presets.mbt2018_tiny(), pack=True),
    ]
