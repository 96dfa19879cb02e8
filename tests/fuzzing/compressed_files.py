"""Compressed files that nobody should have written: valid ones, changed with some knowledge.

A decoder must give an image or raise `FormatError`, soon, and without taking memory beyond what
the image that the file claims needs. What it gives can be written as an image file, or is refused
with `ImageError`. Every input is a pure function of its number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import random
import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from rdonet_jax import pillow_plugin
from rdonet_jax.cli.commands import describe, thumbnails
from rdonet_jax.codec import bitstream, codec, compressed_file, side_data
from rdonet_jax.codec.bitstream import FormatError, Sections
from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.defaults import DEFAULT_ENGINE
from rdonet_jax.entropy import range_coder
from rdonet_jax.imaging import pixel_format, writer
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from tests import image_samples
from tests.fuzzing import byte_changes
from tests.fuzzing.byte_changes import Change

MAX_PIXELS = 2**16
"""Files that claim more are refused, so that a decoding is quick."""

DESCRIBED_OF = 8
"""One input of so many is also described in a long run."""

WRITTEN_OF = 4
"""One image of so many is also written, which takes longer than reading one."""

_CRC_BYTES = 4

SIZES = ((1, 1), (64, 64), (128, 65), (70, 130), (200, 312), (1, 700), (700, 1))
"""Of images, in the order of the time that decoding them takes."""


def valid_files(model: Model, sizes: Sequence[tuple[int, int]] = SIZES) -> list[bytes]:
    """Small files of all forms, of noise and of something smooth, at all levels, by all coders.

    In tiles of every shape that images of `MAX_PIXELS` take, so that decoding all of them
    compiles whatever an input may need.
    """
    rng = np.random.default_rng(0)
    variable = registry.family_of(model.config).variable_rate
    portable = isinstance(model.config, PortableConfig)
    has_levels = registry.family_of(model.config).has_levels(model.config)
    files, coders = [], _installed()
    for height, width in sizes:
        smooth = np.add.outer(np.arange(height), 2 * np.arange(width))[..., None] + [0, 40, 80]
        noise = rng.integers(0, 60, (height, width, 3))
        pixels = (smooth + noise).clip(0, 255).astype(np.uint8)
        alpha = rng.integers(0, 3, (height, width)).astype(np.uint8) * 120
        images = [
            ImageData(pixels),
            ImageData(pixels[..., 0], alpha, b"profile" * 30, b"II*\0" + bytes(40)),
            ImageData(pixel_format.to_uint16(pixels[..., 0]), xmp=b"<x:xmpmeta/>"),
            ImageData(pixels, alpha, image_samples.SRGB, image_samples.exif_block()),
            ImageData(pixel_format.to_uint16(pixels), pixel_format.to_uint16(alpha)),
            ImageData(
                pixels,
                exif=b"II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0" + bytes(4),
                xmp=b"<x:xmpmeta/>" * 20,
                cicp=Cicp(9, 16),
                resolution=Resolution(11811, 11811, True),
            ),
        ]
        for image in images:
            if has_levels:
                p = _any_partition(rng, height, width)
            else:
                p = codec.choose_partition(model, pixels, "variance")
            quality = float(rng.integers(0, 101)) if variable else None
            name = coders[len(files) % len(coders)]
            gains = rng.integers(-90, 91, partition.block_grid(height, width))
            gains = gains if portable and len(files) % 2 else None
            encoded = codec.encode(model, image, p, quality, name, reconstruct=False, gains=gains)
            files.append(encoded.data)
    return files


def _installed() -> list[str]:
    """The range coders that there are; each takes time and memory when it is used first."""
    found = []
    for name in range_coder.CODERS:
        with contextlib.suppress(range_coder.MissingCoderError):
            range_coder.require(name)
            found.append(name)
    return found


def _any_partition(rng: np.random.Generator, height: int, width: int) -> partition.Partition:
    rows, cols = partition.block_grid(height, width)
    split = rng.random((rows, cols)) < 0.6
    quarters = (rng.random((2 * rows, 2 * cols)) < 0.5) & np.kron(split, np.ones((2, 2), bool))
    return partition.trim(partition.Partition(split, quarters), height, width)


def mutated(number: int, files: Sequence[bytes]) -> bytes:
    """Input `number`: one to three changes of a valid file, mostly with a checksum that fits.

    The files must be in the order of the time that they take: most inputs are made from the first.
    """
    chance = random.Random(number)
    data = files[min(chance.randrange(len(files)) for _ in range(3))]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(CHANGES)(chance, data, files)
    return sealed(data) if chance.random() < 0.7 else data


def sealed(data: bytes) -> bytes:
    """With the checksum of the container put right."""
    body = data[:-_CRC_BYTES]
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def _change_sections(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """Sections swapped, emptied, shortened, taken from other files, or filled with noise."""
    try:
        header, sections = bitstream.parse(data)
        _, foreign = bitstream.parse(chance.choice(files))
        one, other = (chance.choice(Sections._fields) for _ in range(2))
        section = getattr(sections, one)
        new = chance.choice(
            (
                {one: getattr(sections, other), other: section},
                {one: b""},
                {one: section[: chance.randrange(len(section) + 1)]},
                {one: getattr(foreign, one)},
                {one: getattr(foreign, other)},
                {one: chance.randbytes(chance.randrange(200))},
                {one: chance.randbytes(len(section))},
            )
        )
        return bitstream.pack(header, sections._replace(**new))
    except FormatError:  # what was changed before is no file, or this would not be one
        return data


def _change_fields(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """Another legal size, quality, coder or form for the same sections."""
    try:
        header, sections = bitstream.parse(data)
        new = chance.choice(
            (
                {"height": chance.choice((1, 63, 64, 65, 200, 65535))},
                {"width": chance.choice((1, 63, 64, 65, 200, 65535))},
                {"quality": chance.choice((None, 0, 1, 300, 640, 641, 65535))},
                {"coder": chance.choice(list(range_coder.CODERS.values()))},
                {"gray": not header.gray},
                {"is_16bit": not header.is_16bit},
                {"symbols_crc": chance.getrandbits(32)},
            )
        )
        return bitstream.pack(dataclasses.replace(header, **new), sections)
    except FormatError:
        return data


def _change_side_data(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """Metadata that is compressed as it should be and is damaged or forged itself."""
    try:
        header, sections = bitstream.parse(data)
        values = side_data.fields(sections)
        present = [name for name in ("icc", "exif", "xmp") if values[name]]
        if not present:
            return data
        name = chance.choice(present)
        content = values[name]
        for _ in range(chance.choice((1, 2, 4))):
            content = chance.choice(byte_changes.CHANGES)(chance, content, [content])
        packed = side_data.pack(ImageData(np.zeros((1, 1), np.uint8), **{name: content}))
        return bitstream.pack(header, sections._replace(**{name: packed[name]}))
    except FormatError:
        return data


CHANGES: tuple[Change, ...] = (
    *byte_changes.CHANGES,
    *(_change_sections, _change_sections, _change_fields, _change_side_data),
)


def outcome(model: Model, data: bytes, engine: str = DEFAULT_ENGINE) -> str:
    """What the decoder makes of bytes; any other exception than `FormatError` is passed on."""
    described(data)
    return _decoded(model, data, engine)[0]


def _decoded(model: Model, data: bytes, engine: str) -> tuple[str, ImageData | None]:
    try:
        content = codec.decode(model, data, max_pixels=MAX_PIXELS, engine=engine).content
    except FormatError as error:
        return first_words(str(error)), None
    return "decoded", content


def described(data: bytes) -> str:
    """Describes the file as `rdonet info` does, and opens it with Pillow; says what came of it."""
    with contextlib.suppress(OSError, Image.DecompressionBombError):
        Image.open(io.BytesIO(data), formats=[pillow_plugin.FORMAT]).close()
    try:
        file = compressed_file.parse(data)
        facts = describe.facts_of_file(file)
        json.dumps(facts, allow_nan=False)
        describe.of_file(file, facts)
    except FormatError as error:
        return first_words(str(error))
    return "described"


def first_words(message: str) -> str:
    """The first of the words that do not depend on numbers."""
    return " ".join(word for word in message.split()[:4] if word.isalpha())


def decode_all(model: Model, files: Sequence[bytes], engine: str = DEFAULT_ENGINE) -> None:
    """Decodes valid files, so that nothing is compiled later."""
    for data in files:
        assert outcome(model, data, engine) == "decoded"


def write_image(folder: Path, image: ImageData, number: int) -> str:
    """Writes one image of `WRITTEN_OF` in the format that the number chooses, after a thumbnail of
    it; says what became of it."""
    turn, rest = divmod(number, WRITTEN_OF)
    if rest:
        return "not written"
    thumbnails.reduced(image, 64)
    suffixes = tuple(WRITABLE_FORMATS)
    path = folder / f"image{suffixes[turn % len(suffixes)]}"
    try:
        writer.save(path, image, force=True)
    except ImageError as error:
        if "cannot be written" not in str(error):
            return "refused: " + first_words(str(error).removeprefix(f"{path}: "))
        raise
    return f"written as {path.suffix}"


INPUTS_BETWEEN = 1000
"""After so many inputs, JAX forgets what it has compiled for `FilesOfEverySize`."""


class CompressedFiles:
    """Mutated files of one model for one engine, as a subject of the long runs."""

    def __init__(
        self, model: Model, engine: str, folder: Path, sizes: Sequence[tuple[int, int]] = SIZES
    ) -> None:
        self._model, self._engine, self._folder = model, engine, folder
        self._files = valid_files(model, sizes)
        decode_all(model, self._files, engine)

    def mutated(self, number: int) -> bytes:
        """Input `number`."""
        return mutated(number, self._files)

    def outcome(self, number: int, data: bytes) -> str:
        """What becomes of an input, in words; raises if it is none of what is allowed.

        One of `DESCRIBED_OF` is also described, which takes as long as a decoding that is refused.
        """
        if number % DESCRIBED_OF == 0:
            described(data)
        words, image = _decoded(self._model, data, self._engine)
        if image is None:
            return words
        return "decoded, " + write_image(self._folder, image, number // DESCRIBED_OF)


class FilesOfEverySize(CompressedFiles):
    """Compressed files of a fixed-rate model, for each of whose sizes JAX compiles.

    Now and then JAX forgets what it has compiled, which would count as memory of the inputs.
    """

    def outcome(self, number: int, data: bytes) -> str:
        if number % INPUTS_BETWEEN == 0:
            jax.clear_caches()
        return super().outcome(number, data)


class Descriptions:
    """Mutated files of several models, which are only described, as a subject of the long runs.

    This takes much less time than a decoding that succeeds, so that many more are tried.
    """

    def __init__(self, models: Sequence[Model], sizes: Sequence[tuple[int, int]] = SIZES) -> None:
        self._files = [
            data for size in sizes for model in models for data in valid_files(model, [size])
        ]
        for data in self._files:
            assert described(data) == "described"

    def mutated(self, number: int) -> bytes:
        """Input `number`."""
        return mutated(number, self._files)

    def outcome(self, number: int, data: bytes) -> str:
        """What becomes of an input, in words; raises if it is none of what is allowed."""
        return described(data)
