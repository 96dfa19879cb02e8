"""Files that nobody should have written: valid ones, changed by somebody who knows their structure.

`tests/test_mutations.py` tries some of them; this tries as many as one likes, in several processes:

    python -m tests.mutations --model FILE --count 1000000 --jobs 2

A decoder must give an image or raise `FormatError`, soon, and without taking memory beyond what
the image that the file claims needs. Every input is a pure function of its number.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import multiprocessing
import os
import random
import resource
import time
import zlib
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import bitstream, codec
from rdonet_jax.codec.bitstream import FormatError, Sections
from rdonet_jax.core import partition
from rdonet_jax.entropy import range_coder
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import zoo
from rdonet_jax.models.zoo import Model

MAX_PIXELS = 2**16
"""Files that claim more are refused, so that a decoding is quick."""

SLOWEST = 2.0
"""Seconds of processor time that an input may take."""

MOST_BYTES = 2**28
"""Of memory that all inputs together may take beyond what valid ones take."""

_CRC_BYTES = 4
_HEADER_BYTES = 48
"""The header and the lengths lie in about so many bytes."""

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
"""(chance, a valid file, all valid files) -> other bytes."""


class Findings(NamedTuple):
    """What became of inputs."""

    counts: collections.Counter[str]  # by outcome
    slowest: float  # seconds of processor time
    slowest_number: int
    memory: int  # bytes taken beyond what valid files take


def valid_files(model: Model) -> list[bytes]:
    """Small files of all forms, of noise and of something smooth, at all levels, by all coders.

    In windows of every shape that images of `MAX_PIXELS` take, so that decoding all of them
    compiles whatever an input may need.
    """
    rng = np.random.default_rng(0)
    files, coders = [], _installed()
    for height, width in ((1, 1), (64, 64), (70, 130), (128, 65), (1, 700), (700, 1)):
        smooth = np.add.outer(np.arange(height), 2 * np.arange(width))[..., None] + [0, 40, 80]
        noise = rng.integers(0, 60, (height, width, 3))
        pixels = (smooth + noise).clip(0, 255).astype(np.uint8)
        alpha = rng.integers(0, 3, (height, width)).astype(np.uint8) * 120
        images = [
            ImageData(pixels),
            ImageData(pixels[..., 0], alpha, b"profile" * 30, b"II*\0" + bytes(40)),
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
            p = _any_partition(rng, height, width)
            quality = float(rng.integers(0, 101))
            name = coders[len(files) % len(coders)]
            gains = rng.integers(-90, 91, partition.block_grid(height, width))
            gains = gains if len(files) % 2 else None
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
    """Input `number`: one to three changes of a valid file, mostly with a checksum that fits."""
    chance = random.Random(number)
    data = chance.choice(files)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(CHANGES)(chance, data, files)
    return sealed(data) if chance.random() < 0.7 else data


def sealed(data: bytes) -> bytes:
    """With the checksum of the container put right."""
    body = data[:-_CRC_BYTES]
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def _flip_bits(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _change_header(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    if changed:
        parity = chance.randrange(min(len(changed), _HEADER_BYTES))
        changed[parity] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


def _truncate(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _lengthen(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    return data + chance.randbytes(chance.randrange(1, 64))


def _cut_out(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[last:]


def _put_in(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    other = chance.choice(files)
    first, last = sorted(chance.randrange(len(other) + 1) for _ in range(2))
    parity = chance.randrange(len(data) + 1)
    return data[:parity] + other[first:last] + data[parity:]


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


CHANGES: tuple[Change, ...] = (
    *(_flip_bits, _change_header, _truncate, _lengthen, _cut_out, _put_in),
    *(_change_sections, _change_sections, _change_fields),
)


def outcome(model: Model, data: bytes) -> str:
    """What the decoder makes of bytes; any other exception than `FormatError` is passed on."""
    try:
        codec.decode(model, data, max_pixels=MAX_PIXELS)
    except FormatError as error:
        return " ".join(word for word in str(error).split()[:4] if word.isalpha())
    return "decoded"


def decode_all(model: Model, files: Sequence[bytes]) -> None:
    """Decodes valid files, so that nothing is compiled later."""
    for data in files:
        assert outcome(model, data) == "decoded"


def tried(model: Model, files: Sequence[bytes], numbers: range) -> Findings:
    """Decodes inputs, after all valid files."""
    decode_all(model, files)
    before = _peak_bytes()
    counts: collections.Counter[str] = collections.Counter()
    slowest = (0.0, -1)
    for number in numbers:
        data = mutated(number, files)
        began = time.process_time()
        try:
            counts[outcome(model, data)] += 1
        except Exception as error:
            raise AssertionError(f"input {number} raises {error!r}") from error
        slowest = max(slowest, (time.process_time() - began, number))
    return Findings(counts, *slowest, _peak_bytes() - before)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _part(arguments: tuple[str, range]) -> Findings:
    path, numbers = arguments
    model = zoo.load(path)
    return tried(model, valid_files(model), numbers)


def _alone(taken: Synchronized) -> None:
    """Gives this process a processor of its own: small computations gain nothing by several."""
    if not hasattr(os, "sched_setaffinity"):
        return
    with taken.get_lock():
        number = taken.value
        taken.value += 1
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[number % len(available)]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--model", type=Path, required=True, help="weights file, portable")
    parser.add_argument("--part", type=int, default=20_000, help="inputs per report")
    options = parser.parse_args()
    last = options.first + options.count
    parts = [
        (str(options.model), range(first, min(first + options.part, last)))
        for first in range(options.first, last, options.part)
    ]
    counts: collections.Counter[str] = collections.Counter()
    slowest, memory = (0.0, -1), 0
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.jobs, _alone, [context.Value("i", 0)]) as pool:
        for findings in pool.imap_unordered(_part, parts):
            counts += findings.counts
            slowest = max(slowest, (findings.slowest, findings.slowest_number))
            memory = max(memory, findings.memory)
            print(f"{counts.total()} inputs, {time.perf_counter() - began:.0f} s, slowest "
                  f"{slowest[0]:.2f} s (input {slowest[1]}), memory +{memory / 2**20:.0f} MiB",
                  flush=True)  # fmt: skip
    for words, count in counts.most_common():
        print(f"{count:>9}  {words}")
    if slowest[0] > SLOWEST or memory > MOST_BYTES:
        raise SystemExit("too slow, or too much memory")


if __name__ == "__main__":
    main()
