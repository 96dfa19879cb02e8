"""`rdonet compress` for one file.

Whatever a user may get wrong becomes a `CommandError`, one line that begins with the file's name.
Modules that load JAX are imported inside the functions, so that wrong names and options are
refused at once.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rdonet_jax.cli.commands import models
from rdonet_jax.cli.errors import CommandError, explained
from rdonet_jax.cli.files import streams
from rdonet_jax.cli.files.file_result import FilePath, FileResult
from rdonet_jax.cli.files.input_output_checks import check_paths, has_image_suffix
from rdonet_jax.cli.options.argument_types import MOST_BYTES
from rdonet_jax.cli.progress import InterruptibleSearch, StepTimer, progress_bar
from rdonet_jax.core.defaults import (
    DEFAULT_CODER,
    DEFAULT_ENGINE,
    DEFAULT_MODEL,
    DEFAULT_ROI_GAIN,
)
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.runtime.platform import PlatformError

if TYPE_CHECKING:
    import numpy as np

    from rdonet_jax.cli.commands.fidelity import Fidelity
    from rdonet_jax.core.partition import Partition
    from rdonet_jax.imaging.pixel_format import ImageData
    from rdonet_jax.models.zoo import Model
    from rdonet_jax.rdo.encode_options import EncodeOptions, Target
    from rdonet_jax.rdo.encoder import EncodeResult, SearchSummary


@dataclasses.dataclass(frozen=True)
class CompressOptions:
    """The options of the command by their names.

    At most one of `quality` (0 to 100), `target_bpp` (bits per pixel of the whole file) and the
    other targets, which are the fields of `Target`, is not None. `effort` stands for both `rdo` and
    `refine`. A `roi_box` is x, y, width, height and gain, which is None for the default.
    """

    model: str = DEFAULT_MODEL
    quality: float | None = None
    target_bpp: float | None = None
    target_size: int | None = None
    target_psnr: float | None = None
    target_ms_ssim: float | None = None
    target_ssimulacra2: float | None = None
    target_butteraugli: float | None = None
    effort: int | None = None
    rdo: int | None = None
    refine: int | None = None
    init: str = "variance"
    roi: str | None = None
    roi_box: Sequence[tuple[int, int, int, int, float | None]] | None = None
    coder: str = DEFAULT_CODER
    engine: str = DEFAULT_ENGINE
    strip: bool = False
    first_frame: bool = False
    lossless_check: bool = False
    force: bool = False
    preserve: bool = False
    measure: bool = False  # the PSNR, whatever the quality is

    @property
    def searches(self) -> bool:
        """Whether there is a search for the partition or a refinement of the latents."""
        return bool(self.effort or self.rdo or self.refine or self.init == "uniform")


def compress_file(
    source: FilePath,
    target: FilePath,
    options: CompressOptions,
    library: ModelLibrary,
    show_progress: bool,
) -> FileResult:
    """Compresses an image file. An interrupted search ends with the best partition so far.

    The file is written last, so that none is there if any part of the work fails.
    """
    started = time.perf_counter()
    image, status = _load_image(source, target, options)

    from rdonet_jax.imaging import output_files

    model = models.load(library, options.model)
    result, step_seconds = _encode(source, model, image, options, show_progress)
    measured, reached = _measured(source, model, result, options)
    facts = _facts(source, target, model, result, measured)
    if reached is not None:
        facts[reached.field] = reached.value
    with explained(ImageError):
        output_files.write_bytes(
            target, result.encoded.data, options.force, status if options.preserve else None
        )
    facts["seconds"] = round(time.perf_counter() - started, 3)
    return FileResult(
        _lines(facts, result, _qualities(options, result, measured, reached)),
        facts,
        math.prod(result.prepared.size),
        len(result.encoded.data),
        step_seconds,
        tuple(f"{target}: {warning}" for warning in measured.warnings),
    )


def _load_image(
    source: FilePath, target: FilePath, options: CompressOptions
) -> tuple[ImageData, os.stat_result]:
    """The image and the status of its file, once the output is known to be possible."""
    from rdonet_jax.imaging import output_files, reader

    with explained(ImageError):
        status = check_paths(source, target)
        if has_image_suffix(target):
            raise CommandError(f"{target}: is the name of an image, not of a compressed file")
        output_files.check_target(target, options.force)
        return reader.load(source, options.strip, first_frame=options.first_frame), status


def _encode(
    source: FilePath, model: Model, image: ImageData, options: CompressOptions, show_progress: bool
) -> tuple[EncodeResult, tuple[tuple[str, float], ...]]:
    """The encoded image, and the steps with their seconds."""
    from rdonet_jax.codec.engine_choice import EngineError
    from rdonet_jax.codec.errors import EncodeError
    from rdonet_jax.rdo import coding

    encode_options = _encode_options(source, options, image.size)
    steps = coding.encode_steps(encode_options)
    with progress_bar(str(source), steps, not show_progress) as report:
        timer = StepTimer(report)
        with (
            explained(PlatformError),
            explained(EncodeError, EngineError, about=str(source)),
            InterruptibleSearch(timer) as report,
        ):
            result = coding.encode(model, image, encode_options, report)
    return result, timer.seconds()


def _measured(
    source: FilePath, model: Model, result: EncodeResult, options: CompressOptions
) -> tuple[Fidelity, _ReachedTarget | None]:
    """How close the encoded image is to its source, once it is checked if that is asked for."""
    from rdonet_jax.cli.commands import fidelity
    from rdonet_jax.codec.bitstream import FormatError
    from rdonet_jax.codec.engine_choice import EngineError
    from rdonet_jax.codec.errors import EncodeError

    source_bytes = os.path.getsize(source) if os.path.isfile(source) else None
    with (
        explained(PlatformError),
        explained(FormatError, EncodeError, EngineError, about=str(source)),
        progress_bar(str(source), ("check",), quiet=True),
    ):
        if options.lossless_check:
            _check_decoding(source, model, result, options.engine)
        measured = fidelity.judge(model, result, source_bytes, options.measure, options.engine)
        return measured, _reached_target(options, result)


def _encode_options(
    source: FilePath, options: CompressOptions, size: tuple[int, int]
) -> EncodeOptions:
    """What the encoder is to do with an image of (height, width)."""
    from rdonet_jax.cli.commands import fidelity
    from rdonet_jax.rdo import effort
    from rdonet_jax.rdo.encode_options import EncodeOptions

    init = _init(size, options.init)
    plan = effort.chosen_plan(options.effort, init, options.rdo, options.refine)
    target = _target(options, size)
    # With a target, only the file found is decoded for its PSNR, not every trial.
    measured = target is None and fidelity.is_measured(options.quality, options.measure)
    reconstruct = options.lossless_check or measured
    gains = _gains(source, options, size)
    return EncodeOptions(
        options.quality, target, plan, options.coder, reconstruct, options.engine, gains
    )


def _gains(source: FilePath, options: CompressOptions, size: tuple[int, int]) -> np.ndarray | None:
    """The gains of blocks by --roi and --roi-box; None without these."""
    from rdonet_jax.imaging import mask_files
    from rdonet_jax.rdo import roi

    mask = None
    with explained(ImageError):
        if options.roi is not None:
            streams.require_file(options.roi)
            mask = mask_files.load_roi(options.roi)
    boxes = [
        roi.Box(*box[:4], DEFAULT_ROI_GAIN if box[4] is None else box[4])
        for box in options.roi_box or ()
    ]
    with explained(roi.RoiError, about=f"{source}: {options.roi}"):
        mask = None if mask is None else roi.checked_mask(mask, size)
    with explained(roi.RoiError, about=str(source)):
        return roi.gains(size, mask, boxes)


def _target(options: CompressOptions, size: tuple[int, int]) -> Target | None:
    """The target of rate control; None where a quality is given, or nothing."""
    from rdonet_jax.rdo.encode_options import Target

    byte_count = options.target_size
    if options.target_bpp is not None:
        byte_count = max(1, int(min(options.target_bpp * math.prod(size) / 8, MOST_BYTES)))
    names = (field.name for field in dataclasses.fields(Target))
    values = {name: getattr(options, f"target_{name}") for name in names} | {"size": byte_count}
    if all(value is None for value in values.values()):
        return None
    return Target(**values)


class _ReachedTarget(NamedTuple):
    """The value that a file has of the metric that was the target."""

    field: str  # of `Target`
    value: float
    words: str


def _reached_target(options: CompressOptions, result: EncodeResult) -> _ReachedTarget | None:
    """The value of the metric that was the target; None for a size, a quality, and a PSNR."""
    from rdonet_jax.rdo.targets import TARGET_METRICS

    target = _target(options, result.prepared.size)
    if target is None or target.field not in TARGET_METRICS or target.psnr is not None:
        return None
    metric = TARGET_METRICS[target.field]
    value = metric.measure(result.prepared, result.encoded.pixels)
    return _ReachedTarget(target.field, value, metric.in_words(value))


def _init(size: tuple[int, int], init: str) -> str | Partition:
    """A start by its name, or the partition in a mask file, for an image of (height, width)."""
    from rdonet_jax.core import partition
    from rdonet_jax.imaging import mask_files
    from rdonet_jax.rdo.initial_masks import INITS

    if init in INITS:
        return init
    if not os.path.exists(init):
        raise CommandError(f"{init}: is neither a mask file nor one of {', '.join(INITS)}")
    streams.require_file(init)
    with explained(ImageError):
        levels = mask_files.load_mask(init)
    height, width = size
    expected = tuple(4 * blocks for blocks in partition.block_grid(height, width))
    if levels.shape != expected:
        raise CommandError(
            f"{init}: has {levels.shape[0]} rows of {levels.shape[1]} levels; an image of "
            f"{width}x{height} pixels needs {expected[0]} rows of {expected[1]}, one level per "
            "16x16 pixels"
        )
    with explained(partition.PartitionError, about=init):
        return partition.from_level_map(levels)


def _check_decoding(source: FilePath, model: Model, result: EncodeResult, engine: str) -> None:
    """Refuses an encoded image that does not decode to what the encoder reconstructed."""
    import numpy as np

    from rdonet_jax.codec import bitstream, codec

    with explained(bitstream.FormatError, about=f"{source}: its compressed file does not decode"):
        decoded = codec.decode(model, result.encoded.data, engine=engine)
    symbols = zip(decoded.symbols, result.encoded.symbols, strict=True)
    same = all(
        np.array_equal(*runs) for level in symbols for runs in zip(*level, strict=True)
    ) and np.array_equal(decoded.image, result.encoded.pixels)
    if not same:
        raise CommandError(f"{source}: its compressed file does not decode to what was encoded")


def _facts(
    source: FilePath, target: FilePath, model: Model, result: EncodeResult, measured: Fidelity
) -> dict[str, Any]:
    """The line of JSON, but for the time."""
    from rdonet_jax.core import partition

    height, width = result.prepared.size
    byte_count = len(result.encoded.data)
    shares = partition.block_shares(result.partition, height, width)
    facts: dict[str, Any] = {
        "input": str(source),
        "output": str(target),
        "width": width,
        "height": height,
        "bytes": byte_count,
        "bpp": 8 * byte_count / (height * width),
        "model": model.name,
        "quality": result.encoded.quality,
        "notes": list(result.prepared.content.notes),
        "levels": dict(zip(map(str, partition.STRIDES), map(float, shares), strict=True)),
    }
    if result.searched:
        stats, before, after, interrupted, refinements = result.searched
        facts["search"] = {
            **dataclasses.asdict(stats),
            "codings": stats.evaluations,  # the name that earlier versions gave it
            "before": before,
            "after": after,
            "interrupted": interrupted,
            "refinements": refinements,
        }
    if measured.psnr is not None:
        facts["psnr"] = measured.psnr if math.isfinite(measured.psnr) else None
    facts["warnings"] = list(measured.warnings)
    return facts


def _qualities(
    options: CompressOptions,
    result: EncodeResult,
    measured: Fidelity,
    reached: _ReachedTarget | None,
) -> tuple[str, ...]:
    """How good the file is, in words: what was asked for, and the quality that a target gave."""
    from rdonet_jax.cli.commands import fidelity

    words = []
    if _target(options, result.prepared.size) is not None:
        words.append(f"quality {result.encoded.quality:.4g}")
    if measured.psnr is not None and (options.measure or options.target_psnr is not None):
        words.append(fidelity.psnr_text(measured.psnr))
    if reached is not None:
        words.append(reached.words)
    return tuple(words)


def _lines(
    facts: dict[str, Any], result: EncodeResult, qualities: tuple[str, ...]
) -> tuple[str, ...]:
    """What there is to say about the file, for people."""
    levels = facts["levels"]
    parts = [
        f"{facts['bytes']} bytes, {facts['bpp']:.3f} bpp",
        *qualities,
        f"levels {'/'.join(levels)}: {' / '.join(f'{share:.0%}' for share in levels.values())}",
        *facts["notes"],
        f"{facts['seconds']:.1f} s",
    ]
    line = f"{facts['output']}: {', '.join(parts)}"
    return (line, _search_line(result.searched)) if result.searched else (line,)


def _search_line(searched: SearchSummary) -> str:
    """What a search and a refinement have done, for people."""
    stats = searched.stats
    gain = 1 - searched.after / searched.before
    ended = ", interrupted: the best so far is written" if searched.interrupted else ""
    works = [f"search: {stats.evaluations} evaluations in {stats.calls} calls"] * bool(stats.calls)
    if searched.refinements:
        works.append(f"refinement: {searched.refinements} iterations")
    return (
        f"{', '.join(works)}, J {searched.before:.4f} to {searched.after:.4f} ({-gain:+.1%}){ended}"
    )
