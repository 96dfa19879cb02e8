"""Encoding of images and decoding of files, for every family of models.

The level coder of a family (`codec.rdonet`, `codec.baselines`, `codec.portable.coder`) codes the
symbols of each level in runs. Here the runs become sections of a file, and a header is added.
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
"""The quality of variable-rate models where none is given, of 0 to 100."""

Report = Callable[[str], None]
"""Called with the name of each step when it begins, for progress bars."""

SYNTHESIS = "synthesis"
ENCODING_STEPS = ("analysis", "level 64", "level 32", "level 16")
DECODING_STEPS = ("level 64", "level 32", "level 16", SYNTHESIS)
"""The steps that are reported, in this order. Encoding with `reconstruct` has `SYNTHESIS` too."""

MAX_EXCESS_BITS = 4096
"""Bits of symbols that may be decoded past the end of a level's section, where zeros are read.

Zeros at the end of a section are not stored, so the symbols of an encoder may need a few. They need
as many as this with the probability 2**-4096. Without a bound, a decoder would spend the time for a
large image on any file of a few bytes that claims one.
"""

MASKS = ("variance", "uniform-16", "uniform-32", "uniform-64")
"""The masks that `choose_partition` knows by name."""


class Encoded(NamedTuple):
    """A compressed image."""

    data: bytes  # of the whole file
    image: np.ndarray | None  # the pixels that the decoder returns; None without `reconstruct`
    symbols: tuple[tuple[np.ndarray, ...], ...]  # by level, the symbols of its runs
    quality: float | None  # 0 to 100, as it is in the file; None from a fixed-rate model


class Decoded(NamedTuple):
    """A decompressed image and what the file says about it."""

    content: Picture
    partition: Partition
    quality: float | None  # 0 to 100; None from a fixed-rate model
    symbols: tuple[tuple[np.ndarray, ...], ...]  # by level, the symbols of its runs

    @property
    def image(self) -> np.ndarray:
        """The pixels: uint8 [H, W, 3], but [H, W] for gray images, and uint16 for 16 bits."""
        return self.content.pixels


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of the codec, for counting their compilations."""
    steps = (step for codec in family_codec.all_codecs() for step in codec.jitted_steps())
    return *steps, _variance_partition_of_tile


def stream_quality(config: AnyConfig, quality: float | None) -> int | None:
    """The integer for a quality in a file; None for a fixed-rate model.

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
    """The inverse of `stream_quality`: the quality, 0 to 100, of an integer in a file."""
    return None if number is None else 100 * number / config.steps_of_quality


def coded_masks(p: Partition, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Where each level is coded, bool [h, w]: its mask without positions outside the image."""
    masks = partition.level_masks(p)
    inside = partition.inside_masks(height, width)
    return tuple(np.asarray(m) & i for m, i in zip(masks, inside, strict=True))


def _variance_partition(
    config: AnyConfig, image: np.ndarray, quality: np.ndarray | None
) -> Partition:
    """The variance mask of an image uint8 [H, W, 3], computed tile by tile."""
    rows, columns = partition.grid_of(*image.shape[:2])
    joined = Partition(*(np.empty((n * rows, n * columns), bool) for n in (1, 2)))
    for tile in tiles.cover((rows, columns), tiles.TILE_SHAPES[0], margin=0):
        pixels = tiles.cut(image, tile, partition.BLOCK)
        of_tile = _variance_partition_of_tile(config, pixels, quality)
        for factor, splits, joined_splits in zip((1, 2), of_tile, joined, strict=True):
            core = tile.crop_core(np.asarray(splits), factor)
            joined_splits[tile.core_slices(factor)] = core
    return joined


@functools.partial(compilation.jit, static_argnums=0)
def _variance_partition_of_tile(
    config: AnyConfig, pixels: jax.Array, quality: jax.Array | None
) -> Partition:
    x = distortion.from_integers(pixels)
    return registry.variance_partition(config, x, quality)


def choose_partition(
    model: Model, image: np.ndarray, mask: str, quality: float | None = None
) -> Partition:
    """The partition of an image uint8 [H, W, 3] by the name of a kind of mask, one of `MASKS`.

    "variance" uses the model's own thresholds, which depend on the quality for a variable-rate
    model. It is "uniform-16" for a model that has no other level. Raises `ValueError` for another
    name, and `EncodeError` as `stream_quality` does.
    """
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}; there are {', '.join(MASKS)}")
    quality_index = stream_quality(model.config, quality)
    image = pixel_format.as_rgb8(image)
    if mask == "variance":
        indices = None if quality_index is None else np.array([quality_index], np.int32)
        p = _variance_partition(model.config, image, indices)
    else:
        level = partition.STRIDES.index(int(mask.removeprefix("uniform-")))
        p = partition.uniform(level, partition.grid_of(*image.shape[:2]))
    return partition.trim(p, *image.shape[:2])


def silent(_: str) -> None:
    """The `Report` that does nothing."""


def require_coder(name: str) -> None:
    """Raises `EncodeError` for a range coder that is not installed."""
    try:
        range_coder.require(name)
    except range_coder.MissingCoderError as error:
        raise EncodeError(str(error)) from error


def compress(
    model: Model, image: Picture | np.ndarray, p: Partition, quality: float | None = None
) -> bytes:
    """The bytes of the file for an image, coded with the partition p. Raises as `encode`."""
    return encode(model, image, p, quality, reconstruct=False).data


def decompress(model: Model, data: bytes) -> np.ndarray:
    """The pixels of a file, as `Decoded.image`.

    Raises `FormatError` for bytes that cannot be decoded. `decode` also returns alpha and metadata.
    """
    return decode(model, data).image


def encode(
    model: Model,
    image: PreparedImage | Picture | np.ndarray,
    p: Partition,
    quality: float | None = None,
    coder_name: str = DEFAULT_CODER,
    report: Report = silent,
    reconstruct: bool = True,
) -> Encoded:
    """Compresses an image with the partition p.

    Args:
      image: an array holds the pixels of an image without alpha and metadata. Colors that alpha
        hides are replaced, see `preparation.prepare`.
      quality: 0 to 100 for a variable-rate model (None: `DEFAULT_QUALITY`), None for any other.
      reconstruct: without it, the work ends with the last symbols, and `Encoded.image` is None. The
        bytes are the same.

    Raises `PartitionError` for a partition of another size. Raises `EncodeError` for an image that
    is invalid or too large for a file or the memory, for a quality or a partition that the model
    does not have, for a range coder that is not installed, and if the network gives values that
    cannot be coded.
    """
    require_coder(coder_name)
    quality_index = stream_quality(model.config, quality)
    prepared = preparation.prepare(model.config, image)
    picture = prepared.picture
    height, width = prepared.size
    p = partition.trim(Partition(*(np.asarray(splits) for splits in p)), height, width)
    if not _has_levels(model.config, p, height, width):
        raise EncodeError(f"{model.name} has one level, 16x16, and takes no masks with others")
    coder = _level_coder(model, p, (height, width), quality_index)
    report("analysis")
    coder.analyze(pixel_format.as_rgb(picture.pixels))
    streams = _encode_levels(coder, model, coder_name, report, reconstruct)
    if reconstruct:
        report(SYNTHESIS)
    coded_partition = partition_coding.encode(p, height, width, coder_name)
    header = Header(
        coder=range_coder.CODERS[coder_name],
        height=height,
        width=width,
        quality=quality_index,
        weights=model.digest,
        platform=family_codec.of(model.config).platform(),
        symbols_crc=coder.checksum,
        gray=picture.gray,
        is_16bit=picture.is_16bit,
    )
    sections = Sections(coded_partition, **streams, **prepared.side_sections)
    data = bitstream.pack(header, sections)
    pixels = _reconstruct(coder, header) if reconstruct else None
    return Encoded(data, pixels, _symbols(coder), quality_of(model.config, quality_index))


def _encode_levels(
    coder: LevelCoder, model: Model, coder_name: str, report: Report, reconstruct: bool
) -> dict[str, bytes]:
    """The sections of all levels, by name. Raises `EncodeError` for values that cannot be coded."""
    streams: dict[str, bytes] = {}
    for level in COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        try:
            runs = coder.encode_level(level, reconstruct or level != COARSE_TO_FINE[-1])
        except SymbolError as error:
            raise EncodeError(f"{error}: the weights cannot be right") from error
        streams[f"level{level}"] = range_coder.encode(runs, model.tables, coder_name)
    return streams


def _reconstruct(coder: LevelCoder, header: Header) -> np.ndarray:
    """The pixels of a coder after its last level, cropped and in the form that the header names.

    Gray is the mean of 16-bit channels, because rounding each to 8 bits first would add errors.
    """
    padded = coder.reconstruct(is_16bit=header.is_16bit or header.gray)
    pixels = padded[: header.height, : header.width]
    return pixel_format.mean_gray(pixels, header.is_16bit) if header.gray else pixels


def decode(
    model: Model,
    data: bytes,
    report: Report = silent,
    max_pixels: int = bitstream.MAX_PIXELS,
) -> Decoded:
    """Decompresses the bytes of a file.

    Raises `FormatError`, and nothing else, for bytes that this model cannot decode. Among them are
    those that claim an image of more than `max_pixels`, or one that the memory cannot hold.
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
    if not _has_levels(model.config, p, header.height, header.width):
        raise FormatError(f"the file's partition has levels that {model.name} does not have")
    alpha = side_data.alpha(header, sections.alpha)
    metadata = side_data.fields(sections)
    coder = _level_coder(model, p, (header.height, header.width), header.quality)
    try:
        _decode_levels(coder, model, header, sections, report)
    except (range_coder.CoderError, SymbolError) as error:
        cause = f"the file's coded data is invalid: {error}"
        raise FormatError(_platform_mismatch(model.config, header) or cause) from error
    if coder.checksum != header.symbols_crc:
        cause = "the decoded symbols are not those that were encoded"
        raise FormatError(_platform_mismatch(model.config, header) or cause)
    report(SYNTHESIS)
    picture = Picture(_reconstruct(coder, header), alpha, **metadata)
    return Decoded(picture, p, quality_of(model.config, header.quality), _symbols(coder))


def _decode_levels(
    coder: LevelCoder, model: Model, header: Header, sections: Sections, report: Report
) -> None:
    """Decodes all levels of a file. Raises `CoderError` or `SymbolError`."""
    coder_name = range_coder.NAMES[header.coder]
    for level in COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        stream = getattr(sections, f"level{level}")
        read_symbols = range_coder.decoder(stream, model.tables, coder_name, MAX_EXCESS_BITS)
        coder.decode_level(level, read_symbols)


def _level_coder(
    model: Model, p: Partition, size: tuple[int, int], quality: int | None
) -> LevelCoder:
    """The level coder of an image of `size` = (height, width), before its first level."""
    codec = family_codec.of(model.config)
    return codec.level_coder(model.config, model.params, coded_masks(p, *size), size, quality)


def _has_levels(config: AnyConfig, p: Partition, height: int, width: int) -> bool:
    """Whether the model has all levels of a trimmed partition."""
    if registry.family_of(config).has_levels:
        return True
    finest = partition.uniform(0, partition.grid_of(height, width))
    return all(map(np.array_equal, p, partition.trim(finest, height, width)))


def _symbols(coder: LevelCoder) -> tuple[tuple[np.ndarray, ...], ...]:
    """The symbols of all runs, by level."""
    return tuple(coder.symbols[level] for level in sorted(coder.symbols))


def _platform_mismatch(config: AnyConfig, header: Header) -> str | None:
    """The error message for a file that is bound to another platform; None for other files."""
    this_platform = family_codec.of(config).platform()
    if header.platform == this_platform:
        return None
    return (
        f"the file is bound to the platform that wrote it ({header.platform}), "
        f"and this one is {this_platform}"
    )


def _check_model(model: Model, header: Header) -> None:
    """Raises `FormatError` for the file of another model, and for a header it never writes."""
    if header.weights != model.digest:
        raise FormatError(
            f"the file was written with the weights {header.weights.hex()}, "
            f"not with those of {model.name} ({model.digest.hex()})"
        )
    has_platform = bool(family_codec.of(model.config).platform())
    if has_platform and not header.platform:
        raise FormatError(f"the file names no platform, which those of {model.name} must")
    if header.platform and not has_platform:
        raise FormatError(f"the file names a platform, to which none of {model.name} is bound")
    if not registry.family_of(model.config).variable_rate:
        if header.quality is not None:
            raise FormatError(f"the file names a quality, of which {model.name} has one alone")
        return
    largest = model.config.steps_of_quality
    if header.quality is None or header.quality > largest:
        named = "no quality" if header.quality is None else f"the quality {header.quality}"
        raise FormatError(f"the file names {named}, not one of 0 to {largest} of {model.name}")
