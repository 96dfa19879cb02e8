"""`rdonet compare`: sizes of two image files, metrics, and an image of the difference.

Compressed files are decoded first. Colors are compared as the files hold them, in the color space
of their profile. Pixels that alpha hides in either image count as equal.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rdonet_jax.cli.commands import decoding, fidelity
from rdonet_jax.cli.errors import CommandError, explained
from rdonet_jax.cli.files import streams
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.output import errors_as_json, say
from rdonet_jax.cli.progress import progress_bar
from rdonet_jax.core import optional_packages
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.runtime import system_memory
from rdonet_jax.runtime.platform import PlatformError

if TYPE_CHECKING:
    import numpy as np

    from rdonet_jax.imaging.pixel_format import ImageData


ALWAYS = ("psnr", "ms_ssim")
"""The metrics that are compared without being named."""

BYTES_PER_PIXEL = 240
"""Of memory that a comparison takes, most of it for the MS-SSIM."""


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """How to compare: the options of the command by their names; None is the default."""

    model: str | None = None
    max_pixels: int | None = None
    difference: str | None = None
    force: bool = False
    metrics: tuple[str, ...] = ()  # beside PSNR and MS-SSIM, names of `metrics.quality`


class ComparisonResult(NamedTuple):
    """The output of the command."""

    lines: tuple[str, ...]  # for people
    facts: dict[str, Any]  # for programs


class _Image(NamedTuple):
    path: FilePath
    size: int  # bytes of the file
    image: ImageData

    def facts(self) -> dict[str, Any]:
        height, width = self.image.size
        return {
            "input": str(self.path),
            "bytes": self.size,
            "bpp": 8 * self.size / (height * width),
        }

    def line(self) -> str:
        return f"{self.path}: {self.size} bytes, {self.facts()['bpp']:.3f} bpp"


class Difference(NamedTuple):
    """Of two arrays of pixels."""

    psnr: float  # in dB, infinite where they are equal
    ms_ssim: float | None
    largest: int  # of all samples
    share: float  # of the pixels that differ
    no_ms_ssim: str = ""  # why there is none, for users


def run(options: argparse.Namespace) -> None:
    """Compares the two files that the options name, and prints what was found."""
    compare_options = CompareOptions(
        options.model,
        options.max_pixels,
        options.difference,
        options.force,
        tuple(dict.fromkeys(options.metric)),
    )
    names = {"a": options.first, "b": options.second}
    with (
        errors_as_json(options.json, {key: {"input": name} for key, name in names.items()}),
        streams.source(options.first) as first,
        streams.source(options.second) as second,
    ):
        result = compare(first, second, compare_options, ModelLibrary())
    for key, name in names.items():
        result.facts[key]["input"] = name
    say(json.dumps(result.facts) if options.json else "\n".join(result.lines))


def compare(
    first: FilePath, second: FilePath, options: CompareOptions, library: ModelLibrary
) -> ComparisonResult:
    """Compares two files. Raises `CommandError` for those that cannot be compared."""
    _check_output(options, first, second)
    _require_metrics(options.metrics)
    a, b = (_read(path, options, library) for path in (first, second))
    _require_alike(a, b)
    _require_memory(a)
    pixels = _visible_pixels(a.image, b.image)
    with explained(PlatformError), progress_bar(str(first), ("comparison",), quiet=True):
        found = difference(*pixels)
        more = _measured(options.metrics, pixels)
    height, width = a.image.size
    facts = {
        "a": a.facts(),
        "b": b.facts(),
        "width": width,
        "height": height,
        "psnr": found.psnr if math.isfinite(found.psnr) else None,
        "ms_ssim": found.ms_ssim,
        "largest_difference": found.largest,
        "differing_pixels": found.share,
    }
    lines = [a.line(), b.line(), *_lines(found, pixels[0])]
    if more:
        facts["metrics"] = more
        lines += [_metric_line(name, value) for name, value in more.items()]
    if a.image.alpha is not None and b.image.alpha is not None:
        facts["largest_alpha_difference"] = _largest(a.image.alpha, b.image.alpha)
        lines.append(f"largest difference of alpha: {facts['largest_alpha_difference']}")
    if a.image.icc != b.image.icc:
        lines.append("the color profiles differ; samples were compared as they are")
    facts["same_profile"] = a.image.icc == b.image.icc
    if options.difference is not None:
        facts["difference"] = options.difference
        facts["factor"] = _draw(options.difference, pixels, found.largest, options.force)
        lines.append(f"{options.difference}: the difference times {facts['factor']}")
    return ComparisonResult(tuple(lines), facts)


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Of pixels of one size and depth, [H, W] or [H, W, 3]."""
    import numpy as np

    from rdonet_jax.imaging import pixel_format

    distance = _distance(first, second)
    differing = distance.any(axis=2) if distance.ndim == 3 else distance > 0
    ms_ssim, no_ms_ssim = _ms_ssim(first, second)
    return Difference(
        pixel_format.psnr(first, second),
        ms_ssim,
        int(distance.max()),
        float(np.mean(differing)),
        no_ms_ssim,
    )


def _check_output(options: CompareOptions, *sources: FilePath) -> None:
    from rdonet_jax.imaging import output_files

    for source in sources:
        if os.path.isdir(source):
            raise CommandError(f"{source}: is a folder")
        os.stat(source)
    path = options.difference
    if path is None:
        return
    if os.path.exists(path) and any(os.path.samefile(path, source) for source in sources):
        raise CommandError(f"{path}: is an input, and must not become the output")
    with explained(ImageError):
        output_files.check_image_target(path, options.force)


def _require_metrics(names: Sequence[str]) -> None:
    """Refuses metrics that there are not, and those that need what is not installed."""
    if not names:
        return
    from rdonet_jax.metrics import libraries, quality

    others = [name for name in quality.METRICS if name not in ALWAYS]
    for name in names:
        if name not in others:
            raise CommandError(
                f"there is no metric {name!r} beside PSNR and MS-SSIM; there are "
                f"{', '.join(others)}"
            )
    with explained(libraries.MissingMetricError):
        quality.require(names)


def _measured(
    names: Sequence[str], pixels: tuple[np.ndarray, np.ndarray]
) -> dict[str, float | None]:
    """These metrics of the pixels as 8-bit RGB, by name; None where there is no value."""
    if not names:
        return {}
    from rdonet_jax.imaging import pixel_format
    from rdonet_jax.metrics import libraries, quality

    original, decoded = (pixel_format.to_uint8(pixel_format.as_rgb(part)) for part in pixels)
    with explained(libraries.MissingMetricError):
        return {name: quality.METRICS[name].measure(original, decoded) for name in names}


def _metric_line(name: str, value: float | None) -> str:
    from rdonet_jax.metrics import quality

    metric = quality.METRICS[name]
    if value is None:
        return f"{metric.label}: no value ({metric.left_out})"
    better = "" if metric.higher_is_better else " (lower is better)"
    return f"{metric.label} {value:.{metric.decimals}f} {metric.unit}".rstrip() + better


def _read(path: FilePath, options: CompareOptions, library: ModelLibrary) -> _Image:
    from rdonet_jax.imaging import reader

    with open(path, "rb") as file:
        compressed = decoding.is_compressed(file.read(4))
    if compressed:
        image, byte_count = decoding.load_image(path, library, options.model, options.max_pixels)
        return _Image(path, byte_count, image)
    limit = MAX_PIXELS if options.max_pixels is None else options.max_pixels
    with explained(ImageError):
        image = reader.load(path, max_pixels=limit)
    return _Image(path, os.path.getsize(path), image)


def _require_memory(compared: _Image) -> None:
    height, width = compared.image.size
    needed, available = BYTES_PER_PIXEL * height * width, system_memory.available_bytes()
    if available is not None and needed > available:
        raise CommandError(
            f"{compared.path}: comparing {width}x{height} pixels takes about "
            f"{needed / 2**30:.1f} GiB of memory, of which {available / 2**30:.1f} GiB are there"
        )


def _require_alike(a: _Image, b: _Image) -> None:
    """Refuses images that differ in more than colors."""
    (height, width), (other_height, other_width) = a.image.size, b.image.size
    if a.image.size != b.image.size:
        raise CommandError(
            f"{b.path}: has {other_width}x{other_height} pixels, and {a.path} {width}x{height}: "
            "images of different sizes cannot be compared"
        )
    if a.image.is_16bit != b.image.is_16bit:
        wide, narrow = (a, b) if a.image.is_16bit else (b, a)
        raise CommandError(
            f"{wide.path}: has 16 bits, and {narrow.path} 8: images of different depths cannot "
            "be compared"
        )
    if (a.image.alpha is None) != (b.image.alpha is None):
        clear, opaque = (b, a) if a.image.alpha is None else (a, b)
        raise CommandError(
            f"{clear.path}: is transparent in places, and {opaque.path} is not: flatten it first"
        )


def _visible_pixels(a: ImageData, b: ImageData) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of both, gray ones as colors where the other has colors.

    Those that either image hides are the same in both.
    """
    import numpy as np

    from rdonet_jax.imaging import pixel_format

    first, second = (pixel_format.fill_hidden(image).pixels for image in (a, b))
    if first.ndim != second.ndim:
        first, second = pixel_format.as_rgb(first), pixel_format.as_rgb(second)
    if a.alpha is None or b.alpha is None:
        return first, second
    is_hidden = (a.alpha == 0) | (b.alpha == 0)
    return first, np.where(is_hidden[..., None] if first.ndim == 3 else is_hidden, first, second)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Absolute differences, of the same type."""
    import numpy as np

    return np.maximum(first, second) - np.minimum(first, second)


def _largest(first: np.ndarray, second: np.ndarray) -> int:
    return int(_distance(first, second).max())


def _ms_ssim(first: np.ndarray, second: np.ndarray) -> tuple[float | None, str]:
    """The MS-SSIM, or None and the reason."""
    import numpy as np

    from rdonet_jax.imaging import pixel_format

    try:
        from rdonet_jax.metrics import distortion
    except ModuleNotFoundError as error:
        if not optional_packages.is_optional(error):
            raise
        return None, "which needs JAX, and that is not installed"
    if min(first.shape[:2]) < distortion.smallest_side():
        return None, f"which needs {distortion.smallest_side()} pixels on the short side"
    peak = np.float32(np.iinfo(first.dtype).max)
    x, x_hat = (pixel_format.as_rgb(pixels).astype(np.float32) / peak for pixels in (first, second))
    return float(distortion.ms_ssim(x, x_hat)), ""


def _lines(found: Difference, pixels: np.ndarray) -> list[str]:
    import numpy as np

    height, width = pixels.shape[:2]
    size = f"{width}x{height} pixels"
    if not found.largest:
        return [f"{size}: no difference"]
    similar = f"no MS-SSIM, {found.no_ms_ssim}"
    if found.ms_ssim is not None:
        similar = f"MS-SSIM {found.ms_ssim:.5f}"
    return [
        f"{size}: PSNR {fidelity.psnr_text(found.psnr)}, {similar}",
        f"largest difference: {found.largest} of {np.iinfo(pixels.dtype).max}; "
        f"{found.share:.1%} of the pixels differ",
    ]


def _draw(path: str, pixels: tuple[np.ndarray, np.ndarray], largest: int, force: bool) -> int:
    """Writes the difference, made so many times as large that nothing is cut off; returns that."""
    import numpy as np

    from rdonet_jax.imaging import writer
    from rdonet_jax.imaging.pixel_format import ImageData

    distance = _distance(*pixels)
    factor = int(np.iinfo(distance.dtype).max) // largest if largest else 1
    with explained(ImageError):
        drawn = ImageData(distance * distance.dtype.type(factor))
        writer.save(path, drawn, force)
    return factor
