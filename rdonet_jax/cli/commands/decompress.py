"""`rdonet decompress` for one file."""

from __future__ import annotations

import dataclasses
import time

from rdonet_jax.cli.commands import decoding
from rdonet_jax.cli.errors import explained
from rdonet_jax.cli.files.file_result import FilePath, FileResult
from rdonet_jax.cli.files.input_output_checks import check_paths
from rdonet_jax.core.defaults import DEFAULT_ENGINE
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models.library import ModelLibrary


@dataclasses.dataclass(frozen=True)
class DecompressOptions:
    """The options of the command by their names; None is the default."""

    model: str | None = None
    max_pixels: int | None = None
    background: tuple[int, int, int] | None = None
    force: bool = False
    preserve: bool = False
    engine: str = DEFAULT_ENGINE


def decompress_file(
    source: FilePath,
    target: FilePath,
    options: DecompressOptions,
    library: ModelLibrary,
    show_progress: bool,
) -> FileResult:
    """Restores the image in a compressed file."""
    started = time.perf_counter()
    status = check_paths(source, target)
    file = decoding.read(source, options.max_pixels)

    from rdonet_jax.imaging import pixel_format, writer

    header = file.header
    alpha = bool(file.sections.alpha) and options.background is None
    with explained(ImageError):
        writer.check(target, options.force, (header.height, header.width), alpha)
    image, step_seconds = decoding.decode(
        source, file, library, options.model, show_progress, options.engine
    )
    if options.background is not None:
        image = pixel_format.flatten(image, options.background)
    with explained(ImageError):
        notes = writer.save(target, image, options.force, status if options.preserve else None)
    facts = {
        "input": str(source),
        "output": str(target),
        "width": header.width,
        "height": header.height,
        "bytes": file.byte_count,
        "bpp": file.bpp,
        "notes": list(notes),
        "seconds": round(time.perf_counter() - started, 3),
    }
    parts = [f"{header.width}x{header.height} pixels", *notes, f"{facts['seconds']:.1f} s"]
    line = f"{target}: {', '.join(parts)}"
    return FileResult((line,), facts, file.pixel_count, file.byte_count, step_seconds)
