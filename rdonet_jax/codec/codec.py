"""Images to bytes and back: what both families of models have in common.

A model's own walk through the levels (`fixed_codec`, `portable_codec`) gives and takes the runs of
symbols; here they become the sections of a file, under a header that says how to read them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rdonet_jax.codec import (
    bitstream,
    compressed_file,
    family_codec,
    memory,
    partition_coding,
    preparation,
    side_data,
)
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.codec.compressed_file import CompressedFile
from rdonet_jax.codec.level_coder import LevelCoder, SymbolError
from rdonet_jax.codec.portable import tiles
from rdonet_jax.codec.preparation import EncodeError, PreparedImage
from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.defaults import DEFAULT_CODER
from rdonet_jax.core.partition import Partition
from rdonet_jax.entropy import range_coder
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import Picture
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.models.hierarchy import COARSE_TO_FINE
from rdonet_jax.models.zoo import Model

DEFAULT_QUALITY = 50.0
"""Of 0 to 100, for models that have every quality."""

Report = Callable[[str], None]
"""Told what comes next, for progress bars."""

SYNTHESIS = "synthesis"
ENCODING_STEPS = ("analysis", "level 64", "level 32", "level 16")
DECODING_STEPS = ("level 64", "level 32", "level 16", SYNTHESIS)
"""What `Report` is told, in this order; encoding with a reconstruction synthesizes too."""

MOST_BEYOND = 4096
"""Bits of symbols that a level may ask for past the end of its section, where zeros are read.

Zeros at the end of a section are not stored, so an encoder's own symbols may need a few. That they
need this many has the probability 2**-4096. Without a bound, a file of a few bytes that claims a
large image would keep a decoder busy with all of it.
"""

MASKS = ("variance", "uniform-16", "uniform-32", "uniform-64")
"""Kinds of masks that need nothing but the image."""


class Encoded(NamedTuple):
    """A compressed image and what the encoder knows about it."""

    data: bytes
    picture: np.ndarray | None  # pixels, what the decoder will give, if asked for
    symbols: tuple[tuple[np.ndarray, ...], ...]  # per level, the symbols of its runs
    quality: float | None  # 0 to 100, as it is in the file; None from a fixed-rate model


class Decoded(NamedTuple):
    """A decompressed image and what stood in the file."""

    content: Picture
    partition: Partition
    quality: float | None  # 0 to 100; None from a model that has one quality
    symbols: tuple[tuple[np.ndarray, ...], ...]

    @property
    def picture(self) -> np.ndarray:
        """Its pixels: uint8 [H, W, 3] but for gray ones and those of 16 bits."""
        return self.content.pixels


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of the codec, for counting their compilations."""
    steps = (step for found in family_codec.all_codecs() for step in found.jitted_steps())
    return *steps, _variance_partition


def stream_quality(config: AnyConfig, quality: float | None) -> int | None:
    """The number that stands for a quality in a file; None for a model that has one quality.

    A variable-rate model has the qualities 0 to 100, and None means `DEFAULT_QUALITY`. A fixed-rate
    model takes None alone. Raises `EncodeError` otherwise.
    """
    if not registry.family_of(config).variable_rate:
        if quality is not None:
            raise EncodeError("the model was trained for one quality: it takes none from outside")
        return None
    if quality is None:
        quality = DEFAULT_QUALITY
    try:
        legal = bool(0 <= quality <= 100)  # NaN does not
        quality = float(quality)
    except (TypeError, ValueError, ArithmeticError):  # no number, several, or far too large
        legal = False
    if not legal:
        raise EncodeError(f"a quality is a number between 0 and 100, not {repr(quality)[:60]}")
    return round(quality / 100 * config.steps_of_quality)


def quality_of(config: AnyConfig, number: int | None) -> float | None:
    """The inverse of `stream_quality`: the quality, 0 to 100, of a number in a file."""
    return None if number is None else 100 * number / config.steps_of_quality


def coded_masks(p: Partition, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Where each level sends symbols, bool [h, w]: its mask, inside the image."""
    masks = partition.level_masks(p)
    inside = partition.inside_masks(height, width)
    return tuple(np.asarray(m) & i for m, i in zip(masks, inside, strict=True))


def _by_variance(config: AnyConfig, image: np.ndarray, quality: np.ndarray | None) -> Partition:
    """The variance mask of an image, window by window."""
    grid = partition.grid_of(*image.shape[:2])
    found = Partition(*(np.empty([factor * side for side in grid], bool) for factor in (1, 2)))
    for tile in tiles.cover(grid, tiles.TILE_SHAPES[0], margin=0):
        pixels = tiles.cut(image, tile, partition.BLOCK)
        splits = _variance_partition(config, pixels, quality)
        for factor, part, whole in zip((1, 2), splits, found, strict=True):
            whole[tile.core_slices(factor)] = tile.crop_core(np.asarray(part), factor)
    return found


@functools.partial(compilation.jit, static_argnums=0)
def _variance_partition(
    config: AnyConfig, pixels: jax.Array, quality: jax.Array | None
) -> Partition:
    x = distortion.from_integers(pixels)
    return registry.variance_partition(config, x, quality)


def choose_partition(
    model: Model, image: np.ndarray, mask: str, quality: float | None = None
) -> Partition:
    """The partition of an image uint8 [H, W, 3] by the name of a kind of mask, one of `MASKS`.

    "variance" uses the model's own thresholds, which follow the quality where there is one to
    choose; it is "uniform-16" for a model that has no other level. Raises `ValueError` for another
    name, and `EncodeError` as `stream_quality` does.
    """
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}; there are {', '.join(MASKS)}")
    number = stream_quality(model.config, quality)
    image = pixel_format.as_rgb8(image)
    if mask == "variance":
        step = None if number is None else np.array([number], np.int32)
        p = _by_variance(model.config, image, step)
    else:
        level = partition.STRIDES.index(int(mask.removeprefix("uniform-")))
        p = partition.uniform(level, partition.grid_of(*image.shape[:2]))
    return partition.trim(p, *image.shape[:2])


def silent(_: str) -> None:
    """The `Report` of callers who do not ask for one."""


def require_coder(name: str) -> None:
    """Raises `EncodeError` for a range coder that is not installed."""
    try:
        range_coder.require(name)
    except range_coder.MissingCoderError as error:
        raise EncodeError(str(error)) from error


def compress(
    model: Model, image: Picture | np.ndarray, p: Partition, quality: float | None = None
) -> bytes:
    """The file's bytes for an image, or for pixels alone, coded with the partition p."""
    return encode(model, image, p, quality, reconstruct=False).data


def decompress(model: Model, data: bytes) -> np.ndarray:
    """The pixels in a file, uint8 [H, W, 3] but for gray images and those of 16 bits.

    Raises `FormatError` for bytes that cannot be decoded. `decode` gives alpha and all else too.
    """
    return decode(model, data).picture


def encode(
    model: Model,
    image: PreparedImage | Picture | np.ndarray,
    p: Partition,
    quality: float | None = None,
    coder_name: str = DEFAULT_CODER,
    report: Report = silent,
    reconstruct: bool = True,
) -> Encoded:
    """Compresses an image with the partition p, and says what the decoder will see.

    Pixels alone stand for an image that is nothing else. Colors that alpha hides are replaced.
    `quality` is 0 to 100 for a portable model (None: `DEFAULT_QUALITY`), None for any other.
    Without `reconstruct` the work ends with the last symbols, and the image is None; the bytes
    are the same. Raises `PartitionError` for a partition of another size, and `EncodeError` for an
    array that is no such image, for one larger than is written or than memory allows, for a
    quality that the model does not have, for a range coder that is not installed, and for values
    of the network that cannot be coded.
    """
    require_coder(coder_name)
    number = stream_quality(model.config, quality)
    prepared = preparation.prepare(model.config, image)
    picture = prepared.picture
    height, width = prepared.size
    p = partition.trim(Partition(*(np.asarray(splits) for splits in p)), height, width)
    if not _has_levels_of(model.config, p, height, width):
        raise EncodeError(f"{model.name} has one level, 16x16, and takes no masks with others")
    walk = _walk(model, p, (height, width), number)
    report("analysis")
    walk.analyze(pixel_format.as_rgb(picture.pixels))
    streams: dict[str, bytes] = {}
    for level in COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        try:
            runs = walk.encode_level(level, reconstruct or level != COARSE_TO_FINE[-1])
        except SymbolError as error:
            raise EncodeError(f"{error}: the weights cannot be right") from error
        streams[f"level{level}"] = range_coder.encode(runs, model.tables, coder_name)
    if reconstruct:
        report(SYNTHESIS)
    tree = partition_coding.encode(p, height, width, coder_name)
    header = Header(
        coder=range_coder.CODERS[coder_name],
        height=height,
        width=width,
        quality=number,
        weights=model.digest,
        platform=family_codec.of(model.config).platform(),
        symbols_crc=walk.checksum,
        gray=picture.gray,
        is_16bit=picture.is_16bit,
    )
    data = bitstream.pack(header, Sections(tree, **streams, **prepared.side_sections))
    pixels = _pixels(walk, header) if reconstruct else None
    return Encoded(data, pixels, _by_level(walk), quality_of(model.config, number))


def _pixels(walk: LevelCoder, header: Header) -> np.ndarray:
    """What the walk has arrived at, in the form that the header names.

    The mean that makes gray is taken of 16 bits, since three roundings to 8 are two too many.
    """
    padded = walk.reconstruct(is_16bit=header.is_16bit or header.gray)
    pixels = padded[: header.height, : header.width]
    return pixel_format.mean_gray(pixels, header.is_16bit) if header.gray else pixels


def decode(
    model: Model,
    data: bytes,
    report: Report = silent,
    max_pixels: int = bitstream.MAX_PIXELS,
) -> Decoded:
    """Decompresses a file's bytes.

    Raises `FormatError`, and nothing else, for bytes that this model cannot decode, among them
    those that claim an image of more than `max_pixels`, or one that memory cannot hold.
    """
    return decode_file(model, compressed_file.parse(data, max_pixels), report)


def decode_file(model: Model, file: CompressedFile, report: Report = silent) -> Decoded:
    """Decompresses a file that has been parsed. Raises `FormatError` as `decode` does."""
    header, sections = file.header, file.sections
    _check_model(model, header)
    if lack := memory.shortage(model.config, partition.grid_of(header.height, header.width)):
        raise FormatError(
            f"the image of {header.width}x{header.height} pixels is too large: {lack}"
        )
    p = partition_coding.read(header, sections)
    if not _has_levels_of(model.config, p, header.height, header.width):
        raise FormatError(f"the file's partition has levels that {model.name} does not have")
    alpha = side_data.alpha(header, sections.alpha)
    along = side_data.fields(sections)
    walk = _walk(model, p, (header.height, header.width), header.quality)
    try:
        _decode_levels(walk, model, header, sections, report)
    except (range_coder.CoderError, SymbolError) as error:
        cause = _elsewhere(model.config, header) or f"the file's coded data is invalid: {error}"
        raise FormatError(cause) from error
    if walk.checksum != header.symbols_crc:
        cause = "the decoded symbols are not those that were encoded"
        raise FormatError(_elsewhere(model.config, header) or cause)
    report(SYNTHESIS)
    picture = Picture(_pixels(walk, header), alpha, **along)
    return Decoded(picture, p, quality_of(model.config, header.quality), _by_level(walk))


def _decode_levels(
    walk: LevelCoder, model: Model, header: Header, sections: Sections, report: Report
) -> None:
    """Takes the walk past all levels of a file. Raises `CoderError` or `SymbolError`."""
    for level in COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        stream = getattr(sections, f"level{level}")
        name = range_coder.NAMES[header.coder]
        walk.decode_level(level, range_coder.decoder(stream, model.tables, name, MOST_BEYOND))


def _walk(model: Model, p: Partition, size: tuple[int, int], quality: int | None) -> LevelCoder:
    """The model's walk for an image of `size` = (height, width), before the first level."""
    masks = coded_masks(p, *size)
    codec = family_codec.of(model.config)
    return codec.level_coder(model.config, model.params, masks, size, quality)


def _has_levels_of(config: AnyConfig, p: Partition, height: int, width: int) -> bool:
    """Whether the model has all levels of a trimmed partition."""
    if registry.family_of(config).has_levels:
        return True
    only = partition.trim(partition.uniform(0, partition.grid_of(height, width)), height, width)
    return all(map(np.array_equal, p, only))


def _by_level(walk: LevelCoder) -> tuple[tuple[np.ndarray, ...], ...]:
    return tuple(walk.symbols[level] for level in sorted(walk.symbols))


def _elsewhere(config: AnyConfig, header: Header) -> str | None:
    """Why the file cannot be decoded here, if it is that it was written elsewhere."""
    here = family_codec.of(config).platform()
    if header.platform == here:
        return None
    return (
        f"the file is bound to the platform that wrote it ({header.platform}), "
        f"and this one is {here}"
    )


def _check_model(model: Model, header: Header) -> None:
    """Raises `FormatError` for the file of another model, or what this one never writes."""
    if header.weights != model.digest:
        raise FormatError(
            f"the file was written with the weights {header.weights.hex()}, "
            f"not with those of {model.name} ({model.digest.hex()})"
        )
    bound = bool(family_codec.of(model.config).platform())
    if bound and not header.platform:
        raise FormatError(f"the file names no platform, which those of {model.name} must")
    if header.platform and not bound:
        raise FormatError(f"the file names a platform, to which none of {model.name} is bound")
    if not registry.family_of(model.config).variable_rate:
        if header.quality is not None:
            raise FormatError(f"the file names a quality, of which {model.name} has one alone")
        return
    largest = model.config.steps_of_quality
    if header.quality is None or header.quality > largest:
        named = "no quality" if header.quality is None else f"the quality {header.quality}"
        raise FormatError(f"the file names {named}, not one of 0 to {largest} of {model.name}")
