"""What the commands do with one file: compress an image, restore one.

Whatever a user may get wrong becomes a `CommandError`, one line that begins with the file's name.
Imports of JAX, and of the rooms that need it, stand inside the functions: what is wrong with names
and options is said at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rdonet_jax.cli.console import CommandError, coding, explained
from rdonet_jax.core import interrupts

if TYPE_CHECKING:
    from rdonet_jax.codec.bitstream import Header
    from rdonet_jax.codec.codec import Report
    from rdonet_jax.core.partition import Partition
    from rdonet_jax.imaging.pixel_format import Picture
    from rdonet_jax.models.zoo import Model
    from rdonet_jax.rdo.encoder import Optimised, Plan, Searched
    from rdonet_jax.rdo.rate_control import Target

DEFAULT_MODEL = "standard"
COMPRESSED_SUFFIX = ".rdo"
PICTURE_SUFFIX = ".png"

OTHER_IMAGE_SUFFIXES = frozenset((".heic", ".heif", ".jxl", ".exr", ".pam", ".svg"))
"""Of images that Pillow does not know by itself."""

Place = str | os.PathLike[str]
"""A file's name, or what stands for it."""

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
    preserve: bool = False
    measure: bool = False  # the PSNR, whatever the quality is


@dataclasses.dataclass(frozen=True)
class Decompression:
    """How to decompress: the options of the command by their names; None is the default."""

    model: str | None = None
    max_pixels: int | None = None
    background: tuple[int, int, int] | None = None
    force: bool = False
    preserve: bool = False


class Done(NamedTuple):
    """What was made of a file."""

    words: tuple[str, ...]  # lines for people
    facts: dict[str, Any]  # for programs
    pixels: int
    size: int  # bytes of the compressed file
    steps: tuple[tuple[str, float], ...]  # the work in parts, with their seconds
    warnings: tuple[str, ...] = ()  # each names the file


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

    def of_file(self, source: Place, header: Header) -> Model:
        """The bundled model that the file `source` was written with."""
        from rdonet_jax.models import zoo

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

    from rdonet_jax.models import zoo

    try:
        jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # a platform that is not there
        asked = os.environ.get("JAX_PLATFORMS", "")
        cause = str(error) or "JAX finds no such platform here"
        raise CommandError(f"JAX_PLATFORMS={asked}: {cause}") from error
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


class _SearchReport:
    """A `Report` by which Ctrl-C ends a search, and not the command; a context manager.

    `rdo.encode` keeps the best so far. A second Ctrl-C ends the command.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._asked: Callable[[], bool] | None = None  # of the search that has begun
        self._search = contextlib.ExitStack()

    def __call__(self, step: str) -> None:
        from rdonet_jax.rdo import encoder

        self._report(step)
        if not encoder.is_of_search(step):
            self._leave()
            return
        if self._asked is None:
            words = "the search ends with the best so far"
            self._asked = self._search.enter_context(interrupts.gently(words))
        if self._asked():
            raise KeyboardInterrupt

    def _leave(self) -> None:
        self._asked = None
        self._search.close()

    def __enter__(self) -> _SearchReport:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()


def compress(
    source: Place, target: Place, options: Compression, models: Models, show_progress: bool
) -> Done:
    """Compresses an image file. An interrupted search ends with the best so far."""
    started = time.perf_counter()
    from rdonet_jax.imaging import reader, srgb

    with explained(srgb.ImageError):
        status = _check_paths(source, target)
        if _is_image_name(target):
            raise CommandError(f"{target}: is the name of an image, not of a compressed file")
        srgb.check_target(target, options.force)
        picture = reader.load(source, options.strip, first_frame=options.first_frame)

    from rdonet_jax.cli import fidelity
    from rdonet_jax.codec import codec
    from rdonet_jax.rdo import encoder, rate_control

    model = models.named(options.model)
    plan = encoder.Plan(_init(picture.size, options.init), options.rdo)
    target_of_file = _target(options.goal, picture)
    if target_of_file is None:
        steps = encoder.steps(plan, _is_reconstructed(options))
    else:
        steps = rate_control.steps(plan)
    with coding(str(source), steps, not show_progress) as report:
        clock = _Clock(report)
        with explained(codec.EncodeError, about=str(source)), _SearchReport(clock) as report:
            found = _encoded(model, picture, plan, target_of_file, options, report)
    data = found.encoded.data
    with explained(srgb.ImageError):
        srgb.write_bytes(target, data, options.force, status if options.preserve else None)
    steps = clock.steps()
    if options.lossless_check:
        _check_file(target, model, found)
    facts = _facts_of_compression(source, target, model, picture, found)
    source_bytes = os.path.getsize(source) if os.path.isfile(source) else None
    judged = fidelity.judge(
        model, picture, found.encoded, facts["quality"], source_bytes, options.measure
    )
    if judged.psnr is not None:
        facts["psnr"] = judged.psnr if math.isfinite(judged.psnr) else None
    facts["warnings"] = list(judged.warnings)
    facts["seconds"] = round(time.perf_counter() - started, 3)
    psnr = judged.psnr if options.measure else None
    words = _words_of_compression(facts, found, psnr)
    warnings = tuple(f"{target}: {warning}" for warning in judged.warnings)
    return Done(words, facts, _area(picture), len(data), steps, warnings)


def _is_reconstructed(options: Compression) -> bool:
    """Whether the encoder shall say what the decoder will give, where a quality is asked for."""
    from rdonet_jax.cli import fidelity

    return options.lossless_check or fidelity.is_measured(options.goal.quality, options.measure)


def _target(goal: Goal, picture: Picture) -> Target | None:
    """What the codec is to aim at; None where a quality is given, or nothing."""
    from rdonet_jax.rdo import rate_control

    size = goal.size
    if goal.bpp is not None:
        size = max(1, int(min(goal.bpp * _area(picture) / 8, MOST_BYTES)))
    return None if size is None and goal.psnr is None else rate_control.Target(size, goal.psnr)


def _encoded(
    model: Model,
    picture: Picture,
    plan: Plan,
    target: Target | None,
    options: Compression,
    report: Report,
) -> Optimised:
    """The image's file. Raises `EncodeError`."""
    from rdonet_jax.rdo import encoder, rate_control

    coder, quality = options.coder, options.goal.quality
    if target is not None:
        return rate_control.encode(
            model, picture, plan, target, coder, report, options.lossless_check
        )
    return encoder.encode(model, picture, plan, quality, coder, report, _is_reconstructed(options))


def _check_file(path: Place, model: Model, found: Optimised) -> None:
    """Refuses a written file that does not give what the encoder saw."""
    import numpy as np

    from rdonet_jax.codec import bitstream, codec

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
    source: Place, target: Place, model: Model, picture: Picture, found: Optimised
) -> dict[str, Any]:
    from rdonet_jax.codec import bitstream, codec
    from rdonet_jax.core import partition

    height, width = picture.size
    size = len(found.encoded.data)
    header, _ = bitstream.parse(found.encoded.data)
    shares = partition.block_shares(found.partition, height, width)
    facts = {
        "input": str(source),
        "output": str(target),
        "width": width,
        "height": height,
        "bytes": size,
        "bpp": 8 * size / (height * width),
        "model": model.name,
        "quality": codec.quality_of(model.config, header.quality),
        "notes": list(picture.notes),
        "levels": dict(zip(map(str, partition.STRIDES), map(float, shares), strict=True)),
    }
    if found.searched:
        stats, before, after, interrupted = found.searched
        facts["search"] = {
            **dataclasses.asdict(stats),
            "before": before,
            "after": after,
            "interrupted": interrupted,
        }
    return facts


def _words_of_compression(
    facts: dict[str, Any], found: Optimised, psnr: float | None
) -> tuple[str, ...]:
    from rdonet_jax.cli import fidelity

    levels = facts["levels"]
    parts = [
        f"{facts['bytes']} bytes, {facts['bpp']:.3f} bpp",
        *(() if psnr is None else (fidelity.words(psnr),)),
        f"levels {'/'.join(levels)}: {' / '.join(f'{share:.0%}' for share in levels.values())}",
        *facts["notes"],
        f"{facts['seconds']:.1f} s",
    ]
    line = f"{facts['output']}: {', '.join(parts)}"
    return (line, _search_words(found.searched)) if found.searched else (line,)


def _search_words(searched: Searched) -> str:
    """What a search has done."""
    gain = 1 - searched.after / searched.before
    ended = ", interrupted: the best so far is written" if searched.interrupted else ""
    return (
        f"search: {searched.stats.evaluations} codings in {searched.stats.calls} calls, "
        f"J {searched.before:.4f} to {searched.after:.4f} (-{gain:.1%}){ended}"
    )


def decompress(
    source: Place, target: Place, options: Decompression, models: Models, show_progress: bool
) -> Done:
    """Restores the image in a compressed file."""
    started = time.perf_counter()
    status = _check_paths(source, target)
    from rdonet_jax.codec import bitstream
    from rdonet_jax.imaging import pixel_format, srgb, writer

    limit = bitstream.MAX_PIXELS if options.max_pixels is None else options.max_pixels
    with explained(bitstream.FormatError, about=str(source)), open(source, "rb") as file:
        data = bitstream.read(file)
        header, sections = bitstream.parse(data, limit)
    alpha = bool(sections.alpha) and options.background is None
    with explained(srgb.ImageError):
        writer.check(target, options.force, (header.height, header.width), alpha)

    from rdonet_jax.codec import codec

    model = models.named(options.model) if options.model else models.of_file(source, header)
    with (
        explained(bitstream.FormatError, about=str(source)),
        coding(str(source), codec.DECODING_STEPS, not show_progress) as report,
    ):
        clock = _Clock(report)
        picture = codec.decode(model, data, clock, limit).content
    steps = clock.steps()
    if options.background is not None:
        picture = pixel_format.flatten(picture, options.background)
    with explained(srgb.ImageError):
        like = status if options.preserve else None
        notes = writer.save(target, picture, options.force, like)
    facts = {
        "input": str(source),
        "output": str(target),
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
    """A start by its name, or the partition in a mask file, for an image of (height, width)."""
    from rdonet_jax.core import partition
    from rdonet_jax.imaging import srgb
    from rdonet_jax.rdo import encoder

    if init in encoder.INITS:
        return init
    if not os.path.exists(init):
        raise CommandError(f"{init}: is neither a mask file nor one of {', '.join(encoder.INITS)}")
    with explained(srgb.ImageError):
        levels = srgb.load_mask(init)
    height, width = size
    expected = tuple(4 * blocks for blocks in partition.grid_of(height, width))
    if levels.shape != expected:
        raise CommandError(
            f"{init}: has {levels.shape[0]} rows of {levels.shape[1]} levels; an image of "
            f"{width}x{height} pixels needs {expected[0]} rows of {expected[1]}, one level per "
            "16x16 pixels"
        )
    with explained(partition.PartitionError, about=init):
        return partition.from_level_map(levels)


def _check_paths(source: Place, target: Place) -> os.stat_result:
    """The status of the input. Refuses one that is not there, and an output that is the input or
    could be a folder alone."""
    status = os.stat(source)
    if os.fspath(target).endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise CommandError(
            f"{target}: is the name of a folder, not of a file; say with --out-dir where results "
            "are to go"
        )
    if os.path.exists(target) and os.path.samefile(source, target):
        raise CommandError(f"{target}: is the input, and must not become the output")
    return status


def _is_image_name(target: Place) -> bool:
    """Whether a file of this name is an image, as far as its suffix tells."""
    suffix = Path(target).suffix.lower()
    if suffix in ("", COMPRESSED_SUFFIX):
        return False
    from PIL import Image

    from rdonet_jax.imaging import srgb

    Image.init()
    return suffix in {*Image.EXTENSION, *srgb.WRITABLE_FORMATS, *OTHER_IMAGE_SUFFIXES}
