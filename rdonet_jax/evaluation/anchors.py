"""Conventional codecs to compare with (anchors): whole files in memory, by Pillow and its plug-ins.

An anchor is an entry of a table: Pillow's format, fixed options, the option that varies the rate,
and what must be installed. Rates are those of whole files, and quality is measured as for this
package's models, so that the results can be compared.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import Image, features
from tqdm import tqdm

from rdonet_jax.evaluation import curves, measures
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.measures import EvaluationError, NamedImage
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics import quality

Options = Mapping[str, Any]


class MissingAnchorError(ValueError):
    """A codec is not installed. The message says what is needed."""


class Plugin(NamedTuple):
    """A plug-in that adds a format to Pillow."""

    package: str  # on PyPI
    module: str
    register: str = ""  # function to call; empty if importing the module is enough


class Anchor(NamedTuple):
    """A conventional codec and how it is used here."""

    label: str
    format: str  # Pillow's name
    fixed: Options  # of Image.save
    varied: str  # the option of Image.save that varies the rate
    ladder: Sequence[int]  # settings of it for a curve, by rising rate
    range: range  # all settings, by rising rate
    feature: str = ""  # of Pillow's build that is needed, and whose version is recorded
    plugin: Plugin | None = None
    in_list: bool = False  # whether Pillow expects the setting in a list


HEIF = Plugin("pillow-heif", "pillow_heif", "register_heif_opener")
JXL = Plugin("pillow-jxl-plugin", "pillow_jxl")

QUALITIES = range(101)
AVIF = {"speed": 4, "subsampling": "4:4:4"}
AVIF_LADDER = (2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 88, 94)

ANCHORS: Mapping[str, Anchor] = {
    "jpeg": Anchor(
        "JPEG", "JPEG", {"subsampling": "4:2:0", "optimize": True},
        "quality", (4, 6, 8, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93), range(1, 96),
        feature="jpg",
    ),
    "webp": Anchor(
        "WebP", "WEBP", {"method": 6},
        "quality", (0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95), QUALITIES,
        feature="webp",
    ),
    "jpeg2000": Anchor(
        "JPEG 2000", "JPEG2000", {"quality_mode": "rates", "irreversible": True, "mct": 1},
        "quality_layers", (480, 360, 240, 160, 110, 80, 56, 40, 28, 20, 14, 10, 8),
        range(800, 3, -1), feature="jpg_2000", in_list=True,
    ),
    "avif": Anchor(
        "AVIF", "AVIF", {**AVIF, "advanced": {"tune": "psnr"}},
        "quality", AVIF_LADDER, QUALITIES, feature="avif",
    ),
    "avif-iq": Anchor(
        "AVIF (tune=iq)", "AVIF", {**AVIF, "advanced": {"tune": "iq"}},
        "quality", AVIF_LADDER, QUALITIES, feature="avif",
    ),
    "hevc": Anchor(
        "HEVC intra", "HEIF",
        {"chroma": "444", "enc_params": {"preset": "slow", "tune": "psnr"}},
        "quality", (0, 6, 16, 26, 36, 46, 56, 66, 76), QUALITIES, plugin=HEIF,
    ),
    "jxl": Anchor(
        "JPEG XL", "JXL", {"effort": 7},
        "quality", (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 88, 94), range(1, 100), plugin=JXL,
    ),
}  # fmt: skip


class Coded(NamedTuple):
    """A coded image: size of its file, decoded pixels and times."""

    size: int  # bytes
    decoded: np.ndarray  # uint8 [H, W, 3]
    encoding_time: float  # seconds
    decoding_time: float


def require(name: str) -> Anchor:
    """The anchor of this name. Registers its plug-in.

    Raises `MissingAnchorError` if Pillow lacks the plug-in or feature.
    """
    anchor = ANCHORS[name]
    if anchor.plugin is not None:
        plugin = anchor.plugin
        try:
            module = importlib.import_module(plugin.module)
        except ImportError as error:
            raise MissingAnchorError(f"{name}: needs the package {plugin.package}") from error
        if plugin.register:
            getattr(module, plugin.register)()
    elif anchor.feature not in features.get_supported():
        raise MissingAnchorError(f"{name}: this Pillow ({PIL.__version__}) cannot write it")
    return anchor


def available(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The anchors that are installed, and a sentence about each of the others."""
    found, missing = [], []
    for name in names:
        try:
            require(name)
            found.append(name)
        except MissingAnchorError as error:
            missing.append(str(error))
    return found, missing


def versions(anchor: Anchor) -> str:
    """The software that codes: Pillow, and its library or plug-in, with versions."""
    words = f"Pillow {PIL.__version__}"
    if anchor.plugin is not None:
        package = anchor.plugin.package
        words += f", {package} {importlib.metadata.version(package)}"
        module = importlib.import_module(anchor.plugin.module)
        if hasattr(module, "libheif_info"):
            words += f", {module.libheif_info()['HEIF']}"
        return words
    if anchor.feature == "jpg" and features.check("libjpeg_turbo"):
        return f"{words}, libjpeg-turbo {features.version('libjpeg_turbo')}"
    return f"{words}, {anchor.label.split(' (')[0]} library {features.version(anchor.feature)}"


def encode(anchor: Anchor, image: np.ndarray, setting: int) -> bytes:
    """The file of an image uint8 [H, W, 3]. Raises `EvaluationError` if the codec refuses it."""
    file = io.BytesIO()
    varied = {anchor.varied: [setting] if anchor.in_list else setting}
    try:
        Image.fromarray(image).save(file, anchor.format, **anchor.fixed, **varied)
    except (OSError, RuntimeError, ValueError) as error:
        raise EvaluationError(f"{anchor.label} refuses the image: {error}") from error
    return file.getvalue()


def code(anchor: Anchor, image: np.ndarray, setting: int) -> Coded:
    """Encodes and decodes an image uint8 [H, W, 3]."""
    began = time.perf_counter()
    data = encode(anchor, image, setting)
    coded = time.perf_counter()
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return Coded(len(data), decoded, coded - began, time.perf_counter() - coded)


def curve(
    name: str,
    images: Sequence[NamedImage],
    bpp: tuple[float, float] = (0.0, math.inf),
    metrics: Sequence[str] = (),
) -> Curve:
    """The anchor's rate-distortion curve of the images, over a range of mean rates.

    Its points are the settings of the ladder, from the last one at or below the range to the first
    one at or above it. Raises `MissingAnchorError` as `require` does, and `EvaluationError` with
    the name of an image that the codec refuses.
    """
    anchor = require(name)
    measured: dict[int, Point] = {}

    def point_at(index: int) -> Point:
        if index not in measured:
            setting = anchor.ladder[index]
            measured[index] = point(
                anchor, images, lambda image: code(anchor, image.pixels, setting), setting, metrics
            )
        return measured[index]

    first = last_below(lambda at: point_at(at).mean.bpp, len(anchor.ladder), bpp[0])
    points = []
    for at in range(first, len(anchor.ladder)):
        points.append(point_at(at))
        if points[-1].mean.bpp >= bpp[1]:
            break
    recorded = {**settings(anchor), **measures.software_settings(metrics)}
    return Curve(name, curves.description(kind(anchor), points), tuple(points), recorded)


def kind(anchor: Anchor) -> str:
    """What the results are, on one line."""
    options = ", ".join(f"{key}={_words(value)}" for key, value in anchor.fixed.items())
    return f"whole {anchor.label} files; {options}, {anchor.varied} varied; {versions(anchor)}"


def settings(anchor: Anchor) -> dict[str, Any]:
    """What determines the results, apart from the setting that is varied."""
    return {
        "rate": "real files",
        "label": anchor.label,
        "software": versions(anchor),
        "options": dict(anchor.fixed),
        "varied": anchor.varied,
    }


def at_rate(anchor: Anchor, image: np.ndarray, size: int) -> tuple[int, Coded]:
    """The setting whose file is closest to `size` bytes in ratio, and the image coded by it.

    Found by bisection over the settings, since rates rise with them.
    """
    sizes: dict[int, int] = {}

    def size_at(at: int) -> float:
        if at not in sizes:
            sizes[at] = len(encode(anchor, image, anchor.range[at]))
        return sizes[at]

    below = last_below(size_at, len(anchor.range), size)
    nearby = [at for at in (below, below + 1) if at < len(anchor.range)]
    best = min(nearby, key=lambda at: abs(math.log(size_at(at) / size)))
    return anchor.range[best], code(anchor, image, anchor.range[best])


def last_below(value: Callable[[int], float], count: int, limit: float) -> int:
    """The index of the last of `count` rising values that is at most the limit; else 0."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if limit <= 0 or value(middle) > limit:
            high = middle
        else:
            low = middle
    return low


def point(
    anchor: Anchor,
    images: Sequence[NamedImage],
    code_image: Callable[[NamedImage], Coded],
    at: float | None,
    metrics: Sequence[str],
) -> Point:
    """The point of a curve at the setting or quality `at`, from the images coded one by one.

    Raises `EvaluationError` with the name of an image for which `code_image` raises it.
    """
    rows = []
    for image in tqdm(images, delay=5, leave=False, desc=anchor.label):
        with measures.naming(image.name):
            coded = code_image(image)
        seen = quality.measure(image.pixels, coded.decoded, metrics)
        bpp = measures.bits_per_pixel(coded.size, image.pixels)
        rows.append(Row(image.name, bpp, seen, coded.encoding_time, coded.decoding_time))
    return curves.point(at, rows)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key}={_words(part)}" for key, part in value.items()) + ")"
    return str(value)
