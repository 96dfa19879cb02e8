"""What the commands do with one file: compress a picture, restore one.

Whatever a user may get wrong becomes a `CommandError`, one line that begins with the file's name.
Imports of JAX, and of the rooms that need it, stand inside the functions: what is wrong with names
and options is said at once.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rdonet_jax.console import CommandError, coding, explained

if TYPE_CHECKING:
    from rdonet_jax.bitstream import Header
    from rdonet_jax.codec import Report
    from rdonet_jax.content import Picture
    from rdonet_jax.partition import Partition
    from rdonet_jax.rdo import Optimised, Plan, Searched
    from rdonet_jax.targets import Target
    from rdonet_jax.zoo import Model

DEFAULT_MODEL = "standard"
COMPRESSED_SUFFIX = ".rdo"
PICTURE_SUFFIX = ".png"


MOST_BYTES = 2**62
"""Of a file, whatever is asked for."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a compressed file shall be; at most one is not None.

    quality: 0 to 100. bpp, size: bits per pixel and bytes of the whole file, at most. psnr: in dB,
    at least.
    """

    quality: float | None = None
    bpp: float | None = None
    size: int | None = None
    psnr: float | None = None


@dataclasses.dataclass(frozen=True)
class Compression:
    """How to compress: the options of the command by their names."""

    model: str = DEFAULT_MODEL
    goal: Goal = Goal()
    rdo: int = 0
    init: str = "variance"
    coder: str = "constriction"
    strip: bool = False
    first_frame: bool = False
    lossless_check: bool = False
    force: bool = False


@dataclasses.dataclass(frozen=True)
class Decompression:
    """How to decompress: the options of the command by their names; None is the default."""

    model: str | None = None
    max_pixels: int | None = None
    background: tuple[int, int, int] | None = None
    force: bool = False


class Done(NamedTuple):
    """What was made of a file."""

    words: tuple[str, ...]  # lines for people
    facts: dict[str, Any]  # for programs
    pixels: int
    size: int  # bytes of the compressed file
    steps: tuple[tuple[str, float], ...]  # the work in parts, with their seconds


class Models:
    """The models in use, each loaded once, on the device that JAX is to use."""

    def __init__(self) -> None:
        self._loaded: dict[str, Model] = {}
        self._lock = threading.Lock()

    def named(self, name: str) -> Model:
        """The model of a bundled name or a weights file."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = _load(name)
            return self._loaded[name]

    def of_file(self, source: str, header: Header) -> Model:
        """The bundled model that the file `source` was written with."""
        from rdonet_jax import zoo

        with explained(zoo.ZooError):
            path = zoo.find(header.weights)
        if path is None:
            raise CommandError(
                f"{source}: needs the weights {header.weights.hex()}, which are not bundled; "
                "give their file with --model"
            )
        return self.named(str(path))


def _load(name: str) -> Model:
    import jax

    from rdonet_jax import zoo

    try:
        jax.default_backend()
    except RuntimeError as error:  # a platform that is not there
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise CommandError(f"JAX_PLATFORMS={asked}: {error}") from error
    with explained(zoo.ZooError):
        return zoo.load(name)


class _Clock:
    """A `Report` that passes on what it is told and takes the time of every step."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._begun: list[tuple[str, float]] = []

    def __call__(self, step: str) -> None:
        self._begun.append((step, time.perf_counter()))
        self._report(step)

    def steps(self) -> tuple[tuple[str, float], ...]:
        """The steps so far with their seconds."""
        ends = [begun for _, begun in self._begun[1:]] + [time.perf_counter()]
        return tuple(
            (name, end - begun) for (name, begun), end in zip(self._begun, ends, strict=True)
        )


def compress(
    source: str, target: str, options: Compression, models: Models, show_progress: bool
) -> Done:
    """Compresses a picture file. An interrupted search ends with the best so far."""
    started = time.perf_counter()
    from rdonet_jax import images, picture_reader

    with explained(images.ImageError):
        _check_paths(source, target)
        if Path(target).suffix.lower() in images.WRITABLE_FORMATS:
            raise CommandError(f"{target}: is the name of a picture, not of a compressed file")
        images.check_target(target, options.force)
        notes: list[str] = []
        picture = picture_reader.load(
            source, options.strip, first_frame=options.first_frame, tell=notes.append
        )

    from rdonet_jax import codec, rdo, targets

    model = models.named(options.model)
    plan = rdo.Plan(_init(picture.size, options.init), options.rdo)
    target_of_file = _target(options.goal, picture)
    if target_of_file is None:
        steps = rdo.steps(plan, options.lossless_check)
    else:
        steps = targets.steps(plan)
    with coding(source, steps, not show_progress) as report:
        clock = _Clock(report)
        with explained(codec.EncodeError, about=source):
            found = _encoded(model, picture, plan, target_of_file, options, clock)
    data = found.encoded.data
    with explained(images.ImageError):
        images.write_bytes(target, data, options.force)
    steps = clock.steps()
    if options.lossless_check:
        _check_file(target, model, found)
    facts = _facts_of_compression(source, target, model, picture, found)
    facts["notes"] = notes
    facts["seconds"] = round(time.perf_counter() - started, 3)
    return Done(_words_of_compression(facts, found), facts, _area(picture), len(data), steps)


def _target(goal: Goal, picture: Picture) -> Target | None:
    """What the codec is to aim at; None where a quality is given, or nothing."""
    from rdonet_jax import targets

    size = goal.size
    if goal.bpp is not None:
        size = max(1, int(min(goal.bpp * _area(picture) / 8, MOST_BYTES)))
    return None if size is None and goal.psnr is None else targets.Target(size, goal.psnr)


def _encoded(
    model: Model,
    picture: Picture,
    plan: Plan,
    target: Target | None,
    options: Compression,
    report: Report,
) -> Optimised:
    """The picture's file. Raises `EncodeError`."""
    from rdonet_jax import rdo, targets

    coder, check = options.coder, options.lossless_check
    if target is not None:
        return targets.encode(model, picture, plan, target, coder, report, check)
    return rdo.encode(model, picture, plan, options.goal.quality, coder, report, check)


def _check_file(path: str, model: Model, found: Optimised) -> None:
    """Refuses a written file that does not give what the encoder saw."""
    import numpy as np

    from rdonet_jax import bitstream, codec

    data = Path(path).read_bytes()
    with explained(bitstream.FormatError, about=f"{path}: does not decode as it was written"):
        decoded = codec.decode(model, data)
    symbols = zip(decoded.symbols, found.encoded.symbols, strict=True)
    same = all(
        np.array_equal(*runs) for level in symbols for runs in zip(*level, strict=True)
    ) and np.array_equal(decoded.picture, found.encoded.picture)
    if not same:
        raise CommandError(f"{path}: does not decode to what was encoded")


def _facts_of_compression(
    source: str, target: str, model: Model, picture: Picture, found: Optimised
) -> dict[str, Any]:
    from rdonet_jax import bitstream, codec, partition

    height, width = picture.size
    size = len(found.encoded.data)
    header, _ = bitstream.parse(found.encoded.data)
    shares = partition.block_shares(found.partition, height, width)
    facts = {
        "input": source,
        "output": target,
        "width": width,
        "height": height,
        "bytes": size,
        "bpp": 8 * size / (height * width),
        "model": model.name,
        "quality": codec.quality_of(model.config, header.quality),
        "levels": dict(zip(map(str, partition.STRIDES), map(float, shares), strict=True)),
    }
    if found.searched:
        effort, before, after, interrupted = found.searched
        facts["search"] = {
            **dataclasses.asdict(effort),
            "before": before,
            "after": after,
            "interrupted": interrupted,
        }
    return facts


def _words_of_compression(facts: dict[str, Any], found: Optimised) -> tuple[str, ...]:
    levels = facts["levels"]
    line = (
        f"{facts['output']}: {facts['bytes']} bytes, {facts['bpp']:.3f} bpp, "
        f"levels {'/'.join(levels)}: {' / '.join(f'{share:.0%}' for share in levels.values())}, "
        f"{''.join(f'{note}, ' for note in facts['notes'])}{facts['seconds']:.1f} s"
    )
    return (line, _search_words(found.searched)) if found.searched else (line,)


def _search_words(searched: Searched) -> str:
    """What a search has done."""
    gain = 1 - searched.after / searched.before
    ended = ", interrupted: the best so far is written" if searched.interrupted else ""
    return (
        f"search: {searched.effort.codings} codings in {searched.effort.calls} calls, "
        f"J {searched.before:.4f} to {searched.after:.4f} (-{gain:.1%}){ended}"
    )


def decompress(
    source: str, target: str, options: Decompression, models: Models, show_progress: bool
) -> Done:
    """Restores the picture in a compressed file."""
    started = time.perf_counter()
    _check_paths(source, target)
    data = Path(source).read_bytes()

    from rdonet_jax import bitstream, content, images, picture_writer

    limit = bitstream.MAX_PIXELS if options.max_pixels is None else options.max_pixels
    with explained(bitstream.FormatError, about=source):
        header, sections = bitstream.parse(data, limit)
    alpha = bool(sections.alpha) and options.background is None
    with explained(images.ImageError):
        picture_writer.check(target, options.force, (header.height, header.width), alpha)

    from rdonet_jax import codec

    model = models.named(options.model) if options.model else models.of_file(source, header)
    with (
        explained(bitstream.FormatError, about=source),
        coding(source, codec.DECODING_STEPS, not show_progress) as report,
    ):
        clock = _Clock(report)
        picture = codec.decode(model, data, clock, limit).content
    steps = clock.steps()
    if options.background is not None:
        picture = content.flattened(picture, options.background)
    with explained(images.ImageError):
        notes = picture_writer.save(target, picture, options.force)
    facts = {
        "input": source,
        "output": target,
        "width": header.width,
        "height": header.height,
        "bytes": len(data),
        "bpp": 8 * len(data) / _area(picture),
        "notes": list(notes),
        "seconds": round(time.perf_counter() - started, 3),
    }
    parts = [f"{header.width}x{header.height} pixels", *notes, f"{facts['seconds']:.1f} s"]
    line = f"{target}: {', '.join(parts)}"
    return Done((line,), facts, _area(picture), len(data), steps)


def _area(picture: Picture) -> int:
    return picture.size[0] * picture.size[1]


def _init(size: tuple[int, int], init: str) -> str | Partition:
    """A start by its name, or the partition in a mask file, for a picture of (height, width)."""
    from rdonet_jax import images, partition, rdo

    if init in rdo.INITS:
        return init
    if not os.path.exists(init):
        raise CommandError(f"{init}: is neither a mask file nor one of {', '.join(rdo.INITS)}")
    with explained(images.ImageError):
        levels = images.load_mask(init)
    height, width = size
    expected = tuple(4 * blocks for blocks in partition.grid_of(height, width))
    if levels.shape != expected:
        raise CommandError(
            f"{init}: has {levels.shape[0]} rows of {levels.shape[1]} levels; a picture of "
            f"{width}x{height} pixels needs {expected[0]} rows of {expected[1]}, one level per "
            "16x16 pixels"
        )
    with explained(partition.PartitionError, about=init):
        return partition.from_level_map(levels)


def _check_paths(source: str, target: str) -> None:
    """Refuses an input that is not there and an output that is the input."""
    os.stat(source)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise CommandError(f"{target}: is the input, and must not become the output")
