"""Images to bytes and back: what all families of models have in common.

The level coder of a model's family codes the runs of symbols of each level. Here these become the
sections of a file, under a header that says how to read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import (
    bitstream,
    compressed_file,
    engine_choice,
    family_codec,
    file_checks,
    memory,
    offset_coding,
    partition_coding,
    preparation,
    qualities,
    side_data,
    tiles,
)
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.codec.compressed_file import Bytes, CompressedFile
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.level_coder import ImageLatents, LevelCoder, SymbolError
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.core import partition
from rdonet_jax.core.config import COARSE_TO_FINE
from rdonet_jax.core.defaults import DEFAULT_CODER, DEFAULT_ENGINE, MAX_PIXELS
from rdonet_jax.core.partition import Partition
from rdonet_jax.entropy import range_coder
from rdonet_jax.entropy.runs import CoderError
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model

Report = Callable[[str], None]
"""Called with the name of each step before it begins, for progress bars."""

SYNTHESIS = "synthesis"
ENCODING_STEPS = ("analysis", "level 64", "level 32", "level 16")
DECODING_STEPS = ("level 64", "level 32", "level 16", SYNTHESIS)
"""The steps of a `Report`, in this order. Encoding with a reconstruction also has `SYNTHESIS`."""

MAX_EXCESS_BITS = 4096
"""Bits that the symbols of a level may take past the end of its section, where zeros are read.

Zeros at the end of a section are not stored, so symbols of an encoder may need a few. That they
need this many has the probability 2**-4096. Without a bound, a file of a few bytes that claims a
large image would make a decoder decode all of it.
"""

MASKS = ("variance", "uniform-16", "uniform-32", "uniform-64")
"""Kinds of masks that need nothing but the image."""


class Encoded(NamedTuple):
    """A compressed image, with its symbols."""

    data: bytes
    image: np.ndarray | None  # pixels, what the decoder will give, if asked for
    symbols: tuple[tuple[np.ndarray, ...], ...]  # per level, the symbols of its runs
    quality: float | None  # 0 to 100, as it is in the file; None from a fixed-rate model

    @property
    def pixels(self) -> np.ndarray:
        """The `image`. Raises ValueError where it was not asked for."""
        if self.image is None:
            raise ValueError("the decoder's pixels were not asked for (reconstruct=True)")
        return self.image


class Decoded(NamedTuple):
    """A decompressed image."""

    content: ImageData
    partition: Partition
    quality: float | None  # 0 to 100; None of a fixed-rate model
    symbols: tuple[tuple[np.ndarray, ...], ...]
    gains: np.ndarray | None = None  # points of quality by block; None where all have the same

    @property
    def image(self) -> np.ndarray:
        """The pixels: uint8 [H, W, 3], or uint16 and [H, W] where the image is so."""
        return self.content.pixels


def coded_masks(p: Partition, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Where each level is coded, bool [h, w]: its mask, inside the image."""
    masks = partition.level_masks(p)
    inside = partition.inside_masks(height, width)
    return tuple(np.asarray(m) & i for m, i in zip(masks, inside, strict=True))


def _variance_mask(image: np.ndarray, quality: ImageQuality) -> Partition:
    """The variance mask of an image, tile by tile, at the qualities of its blocks."""
    blocks = quality.blocks
    number = None if quality.number is None else np.array([quality.number], np.int32)
    grid = partition.block_grid(*image.shape[:2])
    splits = Partition(*(np.empty([factor * side for side in grid], bool) for factor in (1, 2)))
    for tile in tiles.cover(grid, tiles.TILE_SHAPES[0], margin=0):
        pixels = tiles.cut(image, tile, partition.BLOCK)
        x = pixels.astype(np.float32) / np.float32(255)
        of_blocks = number if blocks is None else tiles.cut(blocks, tile)
        of_tile = registry.variance_partition(quality.config, x, of_blocks)
        for factor, part, whole in zip((1, 2), of_tile, splits, strict=True):
            whole[tile.core_slices(factor)] = tile.crop_core(part, factor)
    return splits


def choose_partition(
    model: Model,
    image: np.ndarray,
    mask: str,
    quality: float | None = None,
    gains: np.ndarray | None = None,
) -> Partition[np.ndarray]:
    """The partition of an image uint8 [H, W, 3] by the name of a kind of mask, one of `MASKS`.

    "variance" uses the model's own thresholds, which follow the quality where there is one to
    choose, and the `gains` of blocks; it is "uniform-16" for a model that has no other level.
    Raises `ValueError` for another name, and `EncodeError` as `qualities.parse_quality` does.
    """
    size = image.shape[:2]
    parsed = qualities.parse_quality(model.config, quality, gains, size)
    return partition_at(image, mask, parsed)


def partition_at(image: np.ndarray, mask: str, quality: ImageQuality) -> Partition[np.ndarray]:
    """As `choose_partition`, at a quality that has been parsed."""
    if mask not in MASKS:
        raise ValueError(f"unknown mask {mask!r}; there are {', '.join(MASKS)}")
    image = pixel_format.as_rgb8(image)
    height, width = image.shape[:2]
    if mask == "variance":
        return partition.trim(_variance_mask(image, quality), height, width)
    level = partition.STRIDES.index(int(mask.removeprefix("uniform-")))
    return partition.uniform_of_image(level, height, width)


def silent(_: str) -> None:
    """The `Report` that does nothing."""


def require_coder(name: str) -> None:
    """Raises `EncodeError` for a range coder that is not installed."""
    try:
        range_coder.require(name)
    except range_coder.MissingCoderError as error:
        raise EncodeError(str(error)) from error


def compress(
    model: Model, image: ImageData | np.ndarray, p: Partition, quality: float | None = None
) -> bytes:
    """The file's bytes for an image, or for pixels alone, coded with the partition p."""
    return encode(model, image, p, quality, reconstruct=False).data


def decompress(model: Model, data: Bytes) -> np.ndarray:
    """The pixels in a file, uint8 [H, W, 3] but for gray images and those of 16 bits.

    Raises `FormatError` for bytes that cannot be decoded. `decode` gives alpha and all else too.
    """
    return decode(model, data).image


def encode(
    model: Model,
    image: PreparedImage | ImageData | np.ndarray,
    p: Partition,
    quality: float | None = None,
    coder_name: str = DEFAULT_CODER,
    report: Report = silent,
    reconstruct: bool = True,
    engine: str = DEFAULT_ENGINE,
    gains: np.ndarray | None = None,
) -> Encoded:
    """Compresses an image with the partition p, and gives what the decoder will give.

    With `gains`, [rows, columns], each 64x64 block is better than `quality` by so many points of
    it. Only codecs that `takes_regions` have this.

    Pixels alone are an image without alpha and metadata. Colors that alpha hides are replaced.
    `quality` is 0 to 100 for a portable model (None: `DEFAULT_QUALITY`), None for any other.
    Without `reconstruct` the pixels are not computed, and `Encoded.image` is None; the bytes are
    the same. Raises `PartitionError` for what is no partition of the image. Raises `EncodeError`
    for an array that is no such image, for one larger than is written or than memory allows, for a
    quality that the model does not have, for gains that `qualities.stream_offsets` refuses, for a
    range coder that is not installed, and for values of the network that cannot be coded. Raises
    `EngineError` for an engine that there is not.
    """
    prepared = preparation.prepare(model.config, image)
    parsed = qualities.parse_quality(model.config, quality, gains, prepared.size)
    return encode_prepared(
        model, prepared, p, parsed, coder_name, report, reconstruct=reconstruct, engine=engine
    )


def encode_prepared(
    model: Model,
    prepared: PreparedImage,
    p: Partition,
    quality: ImageQuality,
    coder_name: str = DEFAULT_CODER,
    report: Report = silent,
    reconstruct: bool = True,
    engine: str = DEFAULT_ENGINE,
    latents: ImageLatents | None = None,
) -> Encoded:
    """As `encode`, for an image that has been prepared, at a quality that has been parsed.

    With `latents`, such as those of `start_latents`, these are coded instead of the analysis of the
    image. Only codecs that `takes_latents` have this.
    """
    require_coder(coder_name)
    engine = engine_choice.choose(model.config, engine)
    height, width = prepared.size
    p = partition.check_and_trim(p, height, width)
    if not file_checks.has_levels_of(model.config, p, height, width):
        raise EncodeError(f"{model.name} has one level, 16x16, and takes no masks with others")
    coder = _level_coder(model, p, prepared.size, quality, engine)
    report("analysis")
    if latents is None:
        coder.analyze(pixel_format.as_rgb(prepared.content.pixels))
    else:
        coder.use_latents(latents)
    streams = _encode_levels(coder, model, coder_name, reconstruct, report)
    if reconstruct:
        report(SYNTHESIS)
    header = _header(model, prepared, quality.number, coder_name, coder.checksum)
    if quality.offsets is not None:
        streams["offsets"] = offset_coding.encode(quality.offsets, coder_name)
    tree = partition_coding.encode(p, height, width, coder_name)
    data = bitstream.pack(header, Sections(tree, **streams, **prepared.side_sections))
    pixels = _pixels(coder, header) if reconstruct else None
    return Encoded(data, pixels, _symbols_by_level(coder), quality.quality)


def _encode_levels(
    coder: LevelCoder, model: Model, coder_name: str, reconstruct: bool, report: Report
) -> dict[str, bytes]:
    """The sections of all levels, by name. Raises `EncodeError` for values that cannot be coded."""
    streams = {}
    for level in COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        try:
            runs = coder.encode_level(level, reconstruct or level != COARSE_TO_FINE[-1])
        except SymbolError as error:
            raise EncodeError(f"{error}: the weights cannot be right") from error
        streams[f"level{level}"] = range_coder.encode(runs, model.tables, coder_name)
    return streams


def _header(
    model: Model, prepared: PreparedImage, quality: int | None, coder_name: str, checksum: int
) -> Header:
    """The header of an image whose symbols have this checksum."""
    height, width = prepared.size
    return Header(
        coder=range_coder.CODERS[coder_name],
        height=height,
        width=width,
        quality=quality,
        weights=model.digest,
        platform=family_codec.of(model.config).platform(),
        symbols_crc=checksum,
        gray=prepared.content.gray,
        is_16bit=prepared.content.is_16bit,
    )


def start_latents(
    model: Model,
    prepared: PreparedImage,
    p: Partition,
    quality: ImageQuality,
    engine: str = DEFAULT_ENGINE,
) -> ImageLatents:
    """The latents of the analysis, moved so that plain rounding quantizes them as `encode` does.

    `p` is trimmed. For families whose codec `takes_latents`. Raises `SymbolError` for values that
    cannot be coded.
    """
    name = engine_choice.choose(model.config, engine)
    coder = _level_coder(model, p, prepared.size, quality, name)
    coder.analyze(pixel_format.as_rgb(prepared.content.pixels))
    levels = range(model.config.levels)
    by_level = {level: coder.encode_recorded(level) for level in reversed(levels)}
    y, z = zip(*(by_level[level] for level in levels), strict=True)
    return ImageLatents(y, z)


def _pixels(coder: LevelCoder, header: Header) -> np.ndarray:
    """The decoded pixels in the form that the header names.

    Gray is the mean of three channels of 16 bits, since it is to be rounded to 8 bits only once.
    """
    padded = coder.reconstruct(is_16bit=header.is_16bit or header.gray)
    pixels = padded[: header.height, : header.width]
    return pixel_format.mean_gray(pixels, header.is_16bit) if header.gray else pixels


def decode(
    model: Model,
    data: Bytes,
    report: Report = silent,
    max_pixels: int = MAX_PIXELS,
    engine: str = DEFAULT_ENGINE,
) -> Decoded:
    """Decompresses a file's bytes.

    Raises `FormatError`, and nothing else, for bytes that this model cannot decode, among them
    those that claim an image of more than `max_pixels`, or one that memory cannot hold. Raises
    `EngineError` for an engine that there is not.
    """
    return decode_file(model, compressed_file.parse(data, max_pixels), report, engine)


def decode_file(
    model: Model,
    file: CompressedFile,
    report: Report = silent,
    engine: str = DEFAULT_ENGINE,
) -> Decoded:
    """Decompresses a file that has been parsed. Raises as `decode` does."""
    header, sections = file.header, file.sections
    engine = engine_choice.choose(model.config, engine)
    file_checks.check_model(model, header, sections)
    if lack := memory.shortage(model.config, partition.block_grid(header.height, header.width)):
        raise FormatError(
            f"the image of {header.width}x{header.height} pixels is too large: {lack}"
        )
    p = partition_coding.read(header, sections)
    if not file_checks.has_levels_of(model.config, p, header.height, header.width):
        raise FormatError(f"the file's partition has levels that {model.name} does not have")
    alpha = side_data.alpha(header, sections.alpha)
    along = side_data.fields(sections)
    offsets = offset_coding.read(header, sections)
    quality = ImageQuality(model.config, header.quality, offsets)
    coder = _level_coder(model, p, (header.height, header.width), quality, engine)
    try:
        _decode_levels(coder, model, header, sections, report)
    except (CoderError, SymbolError) as error:
        cause = f"the file's coded data is invalid: {error}"
        raise FormatError(file_checks.cause_here(model.config, header, cause)) from error
    if coder.checksum != header.symbols_crc:
        cause = "the decoded symbols are not those that were encoded"
        raise FormatError(file_checks.cause_here(model.config, header, cause))
    report(SYNTHESIS)
    image = ImageData(_pixels(coder, header), alpha, **along)
    return Decoded(image, p, quality.quality, _symbols_by_level(coder), quality.gains)


def _decode_levels(
    coder: LevelCoder, model: Model, header: Header, sections: Sections, report: Report
) -> None:
    """Decodes all levels of a file. Raises `CoderError` or `SymbolError`."""
    for level in COARSE_TO_FINE:
        report(f"level {partition.STRIDES[level]}")
        stream = getattr(sections, f"level{level}")
        name = range_coder.NAMES[header.coder]
        coder.decode_level(level, range_coder.decoder(stream, model.tables, name, MAX_EXCESS_BITS))


def _level_coder(
    model: Model,
    p: Partition,
    size: tuple[int, int],
    quality: ImageQuality,
    engine: str,
) -> LevelCoder:
    """The level coder of an image of `size` = (height, width), before its first level."""
    masks = coded_masks(p, *size)
    return family_codec.of(model.config).level_coder(model, masks, size, quality, engine)


def _symbols_by_level(coder: LevelCoder) -> tuple[tuple[np.ndarray, ...], ...]:
    return tuple(coder.symbols[level] for level in sorted(coder.symbols))
