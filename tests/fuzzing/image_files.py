"""Image files that somebody damaged or forged: valid ones, changed with knowledge of their format.

Reading one gives an image or raises `ImageError`. An image that is read can be stored beside a
compressed image, comes back from there, and can be written as an image file again.
"""

from __future__ import annotations

import functools
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rdonet_jax.codec import side_data
from rdonet_jax.codec.bitstream import Sections
from rdonet_jax.imaging import reader
from rdonet_jax.imaging.errors import ImageError
from tests import image_samples
from tests.fuzzing import byte_changes, compressed_files
from tests.fuzzing.image_bases import Base

MAX_PIXELS = 2**18

SIDE_DATA = ("icc", "exif", "xmp", "cicp", "resolution")

NUMBERS = (0, 1, 2, 3, 4, 5, 8, 11, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)

Change = Callable[[random.Random, bytes], bytes]
"""(chance, a file of the format) -> other bytes."""


# PNG


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        content = data[position + 8 : position + 8 + length]
        yield data[position + 4 : position + 8], content
        position += 12 + length


def _change_chunk(chance: random.Random, data: bytes) -> bytes:
    """A chunk with other content, twice, elsewhere, gone or of another kind; checksums fit."""
    found = list(_chunks(data))
    if not found:
        return data
    number = chance.randrange(len(found))
    kind, content = found[number]
    change = chance.randrange(6)
    if change <= 1:
        content = chance.choice(byte_changes.CHANGES)(chance, content, [data])
        found[number] = kind, content
    elif change == 2:
        found.insert(chance.randrange(len(found)), (kind, content))
    elif change == 3:
        del found[number]
    elif change == 4:
        kinds = (b"tRNS", b"PLTE", b"gAMA", b"cHRM", b"iCCP", b"eXIf", b"cICP", b"pHYs", b"acTL")
        found[number] = (
            chance.choice((*kinds, b"iTXt", b"sRGB", b"fcTL", b"fdAT", b"IEND")),
            content,
        )
    else:
        inflated = _zeros_packed(chance.choice((0, 2**10, 2**24)))
        bomb = chance.choice(((b"iCCP", b"x\0\0"), (b"zTXt", b"x\0\0"), (b"IDAT", b"")))
        found.insert(chance.randrange(len(found)), (bomb[0], bomb[1] + inflated))
    return data[:8] + b"".join(image_samples.chunk(kind, content) for kind, content in found)


@functools.cache
def _zeros_packed(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


# TIFF and EXIF


def _tiff_entries(data: bytes) -> list[tuple[int, str]]:
    """Where the entries of directories lie in TIFF data anywhere in a file, and the byte order."""
    found = []
    for mark, order in ((b"II*\0", "<"), (b"MM\0*", ">")):
        start = data.find(mark)
        while start >= 0 and len(found) < 500:
            found += _entries_of(data, start, order)
            start = data.find(mark, start + 1)
    return found


def _entries_of(data: bytes, start: int, order: str) -> list[tuple[int, str]]:
    found = []
    waiting, seen = [4], set()
    while waiting:
        position = start + waiting.pop()
        if position in seen or position + 4 > len(data):
            continue
        seen.add(position)
        directory = start + struct.unpack_from(order + "I", data, position)[0]
        if directory + 2 > len(data):
            continue
        count = struct.unpack_from(order + "H", data, directory)[0]
        end = directory + 2 + 12 * min(count, 100)
        for entry in range(directory + 2, min(end, len(data) - 12), 12):
            found.append((entry, order))
            tag = struct.unpack_from(order + "H", data, entry)[0]
            if tag in (0x8769, 0x8825, 0xA005, 0x014A):  # directories of EXIF, GPS, of subimages
                waiting.append(entry + 8 - start)
        waiting.append(end - start)
    return found


def _change_tag(chance: random.Random, data: bytes) -> bytes:
    """Tag, type, count or value of an entry."""
    entries = _tiff_entries(data)
    if not entries:
        return data
    entry, order = chance.choice(entries)
    changed = bytearray(data)
    change = chance.randrange(5)
    if change == 0:
        tags = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 284, 317, 320, 338, 339)
        more = (513, 514, 700, 34665, 34675, 34853, 40965, chance.randrange(2**16))
        struct.pack_into(order + "H", changed, entry, chance.choice((*tags, *more)))
    elif change == 1:
        struct.pack_into(order + "H", changed, entry + 2, chance.randrange(20))
    elif change == 2:
        struct.pack_into(order + "I", changed, entry + 4, chance.choice(NUMBERS))
    elif change == 3:
        value = chance.choice((*NUMBERS, entry, max(0, entry - 2), len(data)))
        struct.pack_into(order + "I", changed, entry + 8, value)
    else:
        other, _ = chance.choice(entries)
        changed[entry : entry + 12] = data[other : other + 12]
    return bytes(changed)


# ICC profiles


def _change_profile(chance: random.Random, data: bytes) -> bytes:
    """Header or tag table of a profile that lies uncompressed in a file."""
    mark = data.find(b"acsp")
    if mark < 36 or mark + 100 > len(data):
        return data
    changed = bytearray(data)
    position = (
        mark - 36 + chance.choice((0, 8, 12, 16, 20, 64, 128, 132 + 4 * chance.randrange(30)))
    )
    if position + 4 <= len(changed):
        value = chance.choice(
            (*(number.to_bytes(4, "big") for number in NUMBERS), b"GRAY", b"CMYK")
        )
        changed[position : position + 4] = value
    return bytes(changed)


# Boxes of AVIF, HEIC and JPEG XL, segments of JPEG, chunks of WebP


def _box_starts(data: bytes) -> list[int]:
    """Where boxes of ISO base media files begin, also nested ones."""
    kinds = (b"ftyp", b"meta", b"hdlr", b"pitm", b"iloc", b"iinf", b"infe", b"iprp", b"ipco")
    more = (
        b"ispe",
        b"pixi",
        b"colr",
        b"av1C",
        b"hvcC",
        b"ipma",
        b"iref",
        b"auxl",
        b"auxC",
        b"mdat",
    )
    rest = (b"irot", b"imir", b"clap", b"jxlc", b"jxlp", b"Exif", b"xml ", b"brob", b"JXL ")
    found = []
    for kind in (*kinds, *more, *rest):
        position = data.find(kind)
        while position >= 4:
            found.append(position - 4)
            position = data.find(kind, position + 1)
    return found


def _change_box(chance: random.Random, data: bytes) -> bytes:
    """Size, kind or content of a box, or the box gone or twice."""
    starts = _box_starts(data)
    if not starts:
        return data
    start = chance.choice(starts)
    size = int.from_bytes(data[start : start + 4], "big")
    end = min(len(data), start + max(8, size))
    change = chance.randrange(5)
    if change == 0:
        new = chance.choice((*NUMBERS, size + 1, max(0, size - 1)))
        return data[:start] + new.to_bytes(4, "big") + data[start + 4 :]
    if change == 1:
        other = chance.choice(starts)
        return data[: start + 4] + data[other + 4 : other + 8] + data[start + 8 :]
    if change == 2:
        return data[:start] + data[end:]
    if change == 3:
        return data[:end] + data[start:end] + data[end:]
    inner = byte_changes.set_integer(chance, data[start + 8 : min(end, start + 72)], [data])
    return data[: start + 8] + inner + data[start + 8 + len(inner) :]


def _segments(data: bytes) -> list[tuple[int, int]]:
    """First and last byte of the segments of a JPEG file before its coded data."""
    found, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        found.append((position, min(end, len(data))))
        position = end
    return found


def _change_segment(chance: random.Random, data: bytes) -> bytes:
    """Marker, length or content of a segment, or the segment gone, twice or elsewhere."""
    found = _segments(data)
    if not found:
        return data
    first, last = chance.choice(found)
    segment = data[first:last]
    change = chance.randrange(5)
    if change == 0:
        markers = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)
        segment = segment[:1] + bytes([chance.choice(markers)]) + segment[2:]
    elif change == 1:
        segment = (
            segment[:2] + chance.choice((0, 1, 2, 3, 2**16 - 1)).to_bytes(2, "big") + segment[4:]
        )
    elif change == 2:
        segment = segment[:4] + chance.choice(byte_changes.CHANGES)(chance, segment[4:], [data])
    elif change == 3:
        segment = b""
    else:
        segment += segment
    return data[:first] + segment + data[last:]


def _change_riff(chance: random.Random, data: bytes) -> bytes:
    """Length or kind of a chunk of WebP."""
    kinds = (
        b"RIFF",
        b"VP8 ",
        b"VP8L",
        b"VP8X",
        b"ALPH",
        b"ICCP",
        b"EXIF",
        b"XMP ",
        b"ANIM",
        b"ANMF",
    )
    places = [position for kind in kinds if (position := data.find(kind)) >= 0]
    if not places:
        return data
    place = chance.choice(places)
    if chance.random() < 0.3:
        return data[:place] + chance.choice(kinds) + data[place + 4 :]
    return data[: place + 4] + chance.choice(NUMBERS).to_bytes(4, "little") + data[place + 8 :]


def _change_any(chance: random.Random, data: bytes) -> bytes:
    return chance.choice(byte_changes.CHANGES)(chance, data, [data])


BY_FORMAT: dict[str, Sequence[Change]] = {
    ".png": (_change_chunk, _change_chunk, _change_chunk, _change_tag, _change_any),
    ".tif": (_change_tag, _change_tag, _change_tag, _change_profile, _change_any),
    ".jpg": (_change_segment, _change_segment, _change_tag, _change_profile, _change_any),
    ".webp": (_change_riff, _change_tag, _change_profile, _change_any),
    ".avif": (_change_box, _change_box, _change_tag, _change_profile, _change_any),
    ".heic": (_change_box, _change_box, _change_tag, _change_profile, _change_any),
    ".jxl": (_change_box, _change_tag, _change_any),
    ".jp2": (_change_box, _change_tag, _change_any),
}
"""Changes by the suffix of the file; other formats take what needs no knowledge."""


class ImageFiles:
    """Mutated image files, as a subject of the long runs."""

    def __init__(self, bases: Sequence[Base], folder: Path) -> None:
        self._bases, self._folder = bases, folder
        for base in bases:
            path = folder / f"valid{base.suffix}"
            path.write_bytes(base.data)
            reader.load(path, first_frame=True)

    def mutated(self, number: int) -> bytes:
        """Input `number`."""
        chance = random.Random(number)
        base = self._base(number)
        data = base.data
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = chance.choice(BY_FORMAT.get(base.suffix, (_change_any,)))(chance, data)
        return data

    def _base(self, number: int) -> Base:
        return random.Random(-1 - number).choice(self._bases)

    def outcome(self, number: int, data: bytes) -> str:
        """What becomes of an input, in words; raises if it is none of what is allowed."""
        suffix = self._base(number).suffix
        path = self._folder / f"input{suffix}"
        path.write_bytes(data)
        options = {"strip": True} if number % 4 == 0 else {"first_frame": number % 4 == 1}
        try:
            image = reader.load(path, max_pixels=MAX_PIXELS, **options)
        except ImageError as error:
            message = str(error)
            assert message.startswith(f"{path}: ") and message.isprintable(), message
            assert len(message) < 400 + len(str(path)), message
            words = compressed_files.first_words(message.removeprefix(f"{path}: "))
            return f"{suffix} refused: {words}"
        assert image.pixels.shape[0] * image.pixels.shape[1] <= MAX_PIXELS
        try:
            sections = side_data.pack(image)
        except side_data.SideDataError as error:
            return f"{suffix} read, not stored: {compressed_files.first_words(str(error))}"
        empty = Sections(b"", b"", b"", b"")
        fields = side_data.fields(empty._replace(**sections))
        for name in SIDE_DATA:
            assert fields[name] == getattr(image, name), name
        alpha = image.alpha
        assert alpha is None or np.shape(alpha) == image.pixels.shape[:2]
        return f"{suffix} read, " + compressed_files.write_image(self._folder, image, number // 4)
