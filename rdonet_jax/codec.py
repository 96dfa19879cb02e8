"""Pictures to bytes and back: the walk through the levels with a range coder in hand.

The encoder takes the decoder's own compiled steps (`predict`, `advance`, `synthesise`) and adds
those that only it needs (`analyse`, `propose`, `quantise`). So what it predicts is what the decoder
will see, bit for bit, in any process on the same kind of machine with the same version of JAX: on
CPUs, tests decode in a fresh process and, for JAX 0.10, in one that has a single CPU (for 0.5.3 the
number of CPUs must be the same). Elsewhere floats may differ in the last bit, as they may between
two processes on accelerators whose libraries choose their algorithms anew. The checksum over all
symbols then turns what would be garbage into an error; where only the synthesis differs, some
values of the picture are off by a grey level.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax import (
    bitstream,
    coder,
    entropy,
    hyper_coding,
    memory,
    objective,
    partition,
    tree_coding,
)
from rdonet_jax.bitstream import FormatError, Header, Sections
from rdonet_jax.config import ModelConfig
from rdonet_jax.models import causal, rdonet
from rdonet_jax.partition import Partition
from rdonet_jax.zoo import Model

DEFAULT_CODER = "constriction"

Report = Callable[[str], None]
"""Told what comes next, for progress bars."""

ENCODING_STEPS = ("analysis", "level 64", "level 32", "level 16")
DECODING_STEPS = ("level 64", "level 32", "level 16", "synthesis")
"""What `Report` is told, in this order; encoding with a reconstruction synthesises too."""

MASKS = ("variance", "uniform-16", "uniform-32", "uniform-64")
"""Kinds of masks that need nothing but the picture."""


class EncodeError(ValueError):
    """A picture, or what the network makes of it, that no file can hold."""


class Encoded(NamedTuple):
    """A compressed picture and what the encoder knows about it."""

    data: bytes
    picture: np.ndarray | None  # uint8 [H, W, 3], what the decoder will give, if asked for
    symbols: tuple[tuple[np.ndarray, ...], ...]  # per level, the symbols of its runs


class Decoded(NamedTuple):
    """A decompressed picture and what stood in the file."""

    picture: np.ndarray  # uint8 [H, W, 3]
    partition: Partition
    symbols: tuple[tuple[np.ndarray, ...], ...]


@functools.partial(jax.jit, static_argnums=0)
def analyse(config: ModelConfig, params: Any, pixels: jax.Array) -> tuple[jax.Array, ...]:
    """Padded pixels uint8 [1, H, W, 3] -> encoder features by level."""
    x = pixels.astype(jnp.float32) / 255.0
    return rdonet.network(config).apply({"params": params}, x, method="analyse")


@functools.partial(jax.jit, static_argnums=(0, 1))
def propose(
    config: ModelConfig, level: int, params: Any, e: jax.Array, state: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """y and rounded z of a level; encoder only."""
    net = rdonet.network(config)
    y, z = net.apply({"params": params}, level, e, state, method="latent")
    return y, jnp.round(z)


@functools.partial(jax.jit, static_argnums=(0, 1))
def predict(
    config: ModelConfig, level: int, params: Any, z_hat: jax.Array, state: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """mu of y and the index of its scale's table, [1, h, w, C]."""
    prior = rdonet.network(config).apply({"params": params}, level, z_hat, state, method="prior")
    return prior.mu, entropy.scale_index(prior.scale, config.distribution)


@jax.jit
def quantise(y: jax.Array, mu: jax.Array) -> jax.Array:
    """The symbols round(y - mu), as float32 integers; encoder only."""
    return jnp.round(y - mu)


@functools.partial(jax.jit, static_argnums=(0, 1))
def advance(
    config: ModelConfig,
    level: int,
    params: Any,
    mu: jax.Array,
    symbols: jax.Array,
    state: jax.Array,
) -> jax.Array:
    """The next state; symbols int32 [1, h, w, C] are 0 where not coded, which leaves mu there."""
    y_hat = mu + symbols.astype(jnp.float32)
    return rdonet.network(config).apply({"params": params}, level, y_hat, state, method="merge")


@functools.partial(jax.jit, static_argnums=0)
def synthesise(config: ModelConfig, params: Any, state: jax.Array) -> jax.Array:
    """The state after level 0 -> padded pixels uint8 [1, H, W, 3]."""
    x_hat = rdonet.network(config).apply({"params": params}, state, method="synthesise")
    return objective.to_8_bit(x_hat)


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of the codec, for counting their compilations."""
    return analyse, propose, predict, quantise, advance, synthesise, _variance_partition


def pad_picture(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] replicated to multiples of 64 at the bottom and the right, [1, ·, ·, 3]."""
    bottom, right = ((-side) % partition.BLOCK for side in image.shape[:2])
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")[None]


def coded_masks(p: Partition, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Where each level sends symbols, bool [h, w]: its mask, inside the picture."""
    masks = partition.level_masks(p)
    inside = partition.inside_masks(height, width)
    return tuple(np.asarray(m) & i for m, i in zip(masks, inside, strict=True))


@functools.partial(jax.jit, static_argnums=1)
def _variance_partition(pixels: jax.Array, thresholds: tuple[float, float]) -> Partition:
    return partition.variance(pixels.astype(jnp.float32) / 255.0, thresholds)


def choose_partition(model: Model, image: np.ndarray, mask: str) -> Partition:
    """The partition of a picture uint8 [H, W, 3] by the name of a kind of mask, one of `MASKS`.

    "variance" uses the model's own thresholds. Raises `ValueError` for another name.
    """
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}; there are {', '.join(MASKS)}")
    if mask == "variance":
        batched = _variance_partition(pad_picture(image), model.config.thresholds)
        p = Partition(*(np.asarray(splits)[0] for splits in batched))
    else:
        level = partition.STRIDES.index(int(mask.removeprefix("uniform-")))
        p = partition.uniform(level, partition.grid_of(*image.shape[:2]))
    return partition.trim(p, *image.shape[:2])


def _silent(_: str) -> None:
    """The `Report` of callers who do not ask for one."""


def compress(model: Model, image: np.ndarray, p: Partition) -> bytes:
    """The file's bytes for a picture uint8 [H, W, 3], coded with the partition p."""
    return encode(model, image, p, reconstruct=False).data


def decompress(model: Model, data: bytes) -> np.ndarray:
    """The picture uint8 [H, W, 3]. Raises `FormatError` for bytes that cannot be decoded."""
    return decode(model, data).picture


def encode(
    model: Model,
    image: np.ndarray,
    p: Partition,
    coder_name: str = DEFAULT_CODER,
    report: Report = _silent,
    reconstruct: bool = True,
) -> Encoded:
    """Compresses uint8 [H, W, 3] with the partition p, and says what the decoder will see.

    Without `reconstruct` the work ends with the last symbols, and the picture is None; the bytes
    are the same. Raises `PartitionError` for a partition of another size, and `EncodeError` for an
    array that is no such picture, for one larger than is written or than memory allows, and for
    values of the network that cannot be coded.
    """
    height, width = _checked_size(model.config, image)
    p = partition.trim(Partition(*(np.asarray(splits) for splits in p)), height, width)
    report("analysis")
    features = analyse(model.config, model.params, pad_picture(image))
    walk = _Walk(model, p, height, width)
    tables = entropy.scale_tables(model.config.distribution)
    streams: dict[str, bytes] = {}
    for level in rdonet.COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        goes_on = reconstruct or level != rdonet.COARSE_TO_FINE[-1]
        runs = _encode_level(walk, level, features[level], goes_on)
        streams[f"level{level}"] = coder.encode(runs, tables, coder_name)
    if reconstruct:
        report("synthesis")
    picture = walk.picture() if reconstruct else None
    sections = Sections(tree_coding.encode(p, height, width, coder_name), **streams)
    header = Header(
        model.name, model.digest, coder.CODERS[coder_name], height, width, walk.checksum
    )
    return Encoded(bitstream.pack(header, sections), picture, walk.symbols())


def _encode_level(walk: _Walk, level: int, e: jax.Array, goes_on: bool) -> list[coder.Run]:
    """The runs of a level: hyper-latents by wavefront, then the latents.

    Moves the walk on to the next level, or the picture, if it `goes_on`.
    """
    config, params = walk.model.config, walk.model.params
    y, z = propose(config, level, params, e, walk.state)
    coded = walk.hyper_masks[level]
    z_hat = np.where(coded[..., None], np.asarray(z)[0], np.float32(0))
    weights = walk.causal_weights(level)
    try:
        runs = hyper_coding.encode_runs(weights, z_hat, coded, config.distribution)
    except hyper_coding.HyperLatentError as error:
        raise EncodeError(f"{error}: the weights cannot be right") from error
    mu, index = walk.predict(level, z_hat)
    mask = walk.masks[level]
    symbols = _integers(np.asarray(quantise(y, mu))[0][mask])
    runs.append((symbols.ravel(), index[mask].ravel()))
    walk.record(level, [run for run, _ in runs])
    if goes_on:
        walk.advance(level, mu, symbols)
    return runs


def decode(
    model: Model,
    data: bytes,
    report: Report = _silent,
    max_pixels: int = bitstream.MAX_PIXELS,
) -> Decoded:
    """Decompresses a file's bytes.

    Raises `FormatError`, and nothing else, for bytes that this model cannot decode, among them
    those that claim a picture of more than `max_pixels`, or one that memory cannot hold.
    """
    header, sections = bitstream.parse(data, max_pixels)
    if header.weights != model.digest:
        raise FormatError(
            f"the file was written with model {header.model} ({header.weights.hex()}), "
            f"not with {model.name} ({model.digest.hex()})"
        )
    if lack := memory.shortage(model.config, partition.grid_of(header.height, header.width)):
        raise FormatError(
            f"the picture of {header.width}x{header.height} pixels is too large: {lack}"
        )
    try:
        return _decode_sections(model, header, sections, report)
    except (coder.CoderError, partition.PartitionError, hyper_coding.HyperLatentError) as error:
        raise FormatError(f"the file's coded data is invalid: {error}") from error


def _decode_sections(model: Model, header: Header, sections: Sections, report: Report) -> Decoded:
    config = model.config
    p = tree_coding.read(header, sections)
    walk = _Walk(model, p, header.height, header.width)
    tables = entropy.scale_tables(config.distribution)
    for level in rdonet.COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        stream = getattr(sections, f"level{level}")
        take = coder.decoder(stream, tables, coder.NAMES[header.coder])
        z_hat, runs = hyper_coding.decode(
            take, walk.causal_weights(level), walk.hyper_masks[level], config.distribution
        )
        mu, index = walk.predict(level, z_hat)
        symbols = take(index[walk.masks[level]].ravel())
        walk.record(level, [*runs, symbols])
        walk.advance(level, mu, symbols)
    if walk.checksum != header.symbols_crc:
        raise FormatError(
            "the decoded symbols are not those that were encoded: a file needs the kind of machine "
            "and the version of JAX that wrote it, and on some accelerators the same process"
        )
    report("synthesis")
    return Decoded(walk.picture(), p, walk.symbols())


class _Walk:
    """The decoder's half of the walk for one picture, shared by encoder and decoder."""

    def __init__(self, model: Model, p: Partition, height: int, width: int) -> None:
        grid = partition.grid_of(height, width)
        self.model, self.size = model, (height, width)
        self.masks = coded_masks(p, height, width)
        self.hyper_masks = tuple(np.asarray(partition.hyper_mask(m)) for m in self.masks)
        self.state = rdonet.network(model.config).start(1, grid)
        self.checksum = 0
        self._symbols: dict[int, tuple[np.ndarray, ...]] = {}

    def causal_weights(self, level: int) -> causal.CausalWeights:
        return causal.CausalWeights(**self.model.params[f"units_{level}"]["hyper_prior"])

    def predict(self, level: int, z_hat: np.ndarray) -> tuple[jax.Array, np.ndarray]:
        """mu [1, h, w, C] and, on the host, the table indices [h, w, C]."""
        mu, index = predict(self.model.config, level, self.model.params, z_hat[None], self.state)
        return mu, np.asarray(index)[0]

    def record(self, level: int, runs: list[np.ndarray]) -> None:
        """Takes note of all symbols of a level."""
        for run in runs:
            self.checksum = zlib.crc32(run.astype("<i4").tobytes(), self.checksum)
        self._symbols[level] = tuple(run.astype(np.int32) for run in runs)

    def advance(self, level: int, mu: jax.Array, symbols: np.ndarray) -> None:
        """Goes past a level with the latent symbols of its coded positions."""
        grid = np.zeros(mu.shape, np.int32)
        mask = self.masks[level]
        grid[0, mask] = symbols.reshape(-1, mu.shape[-1])
        self.state = advance(self.model.config, level, self.model.params, mu, grid, self.state)

    def picture(self) -> np.ndarray:
        height, width = self.size
        pixels = synthesise(self.model.config, self.model.params, self.state)
        return np.asarray(pixels)[0, :height, :width]

    def symbols(self) -> tuple[tuple[np.ndarray, ...], ...]:
        return tuple(self._symbols[level] for level in sorted(self._symbols))


def _integers(values: np.ndarray) -> np.ndarray:
    """Float symbols as int32. Raises `EncodeError` when they do not fit (or are NaN)."""
    if not np.all(np.abs(values) < 2.0**31):
        raise EncodeError("the latents are too large to be coded: the weights cannot be right")
    return values.astype(np.int32)


def _checked_size(config: ModelConfig, image: np.ndarray) -> tuple[int, int]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise EncodeError(
            f"a picture is a uint8 array [height, width, 3], not {image.dtype} {image.shape}"
        )
    height, width = image.shape[:2]
    if max(height, width) > bitstream.MAX_SIDE or height * width > bitstream.MAX_PIXELS:
        raise EncodeError(
            f"a picture of {width}x{height} pixels is too large: no side may be over "
            f"{bitstream.MAX_SIDE}, nor the area over {bitstream.MAX_PIXELS} pixels"
        )
    if lack := memory.shortage(config, partition.grid_of(height, width)):
        raise EncodeError(f"a picture of {width}x{height} pixels is too large: {lack}")
    return height, width
