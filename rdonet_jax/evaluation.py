"""Rate and quality of a model on a folder of pictures: by real files, or by a fast estimate.

Real files are the default and what is reported: every picture is compressed, written, read back
and decompressed. The rate is that of the whole file, and the seconds are those from pixels to bytes
(the choice of the partition included) and from bytes to pixels, reading and writing left out. They
hold no compilation: the first picture of every padded size is coded and decoded once beforehand,
untimed.

The estimate takes the walk of training with rounding, in batches of a fixed size, and counts what
the integer tables charge for every symbol. It has no files and no times, and its rate lacks the
header, the partition and the range coder's own losses; so the two never share a table.

In both, quality is that of 8-bit pictures, of the picture's own pixels, and every mean is taken
over pictures, whatever their sizes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from rdonet_jax import codec, images, objective, partition, pictures, rdo, results
from rdonet_jax.config import AnyConfig
from rdonet_jax.models import families
from rdonet_jax.partition import Partition
from rdonet_jax.rdo import Plan
from rdonet_jax.results import Row
from rdonet_jax.zoo import Model

BATCH_SIZE = 4
"""Pictures per batch of the estimate, unless the caller says otherwise."""

FILE_SUFFIX, PICTURE_SUFFIX = ".rdo", ".rdo.png"
"""Appended to a picture's name for its compressed file and for the decoded picture."""


class EvaluationError(ValueError):
    """An evaluation that cannot be made, or whose result cannot be trusted."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate and what to leave behind.

    Attributes:
      plan: how partitions are chosen.
      quality: 0 to 100 for a model of every quality, None for one of a fixed lambda.
      estimate: estimate the rate instead of writing files.
      batch_size: of the estimate.
      keep: folder for the compressed files, which are temporary without it.
      save_decoded: folder for the decoded pictures, as PNG.
      force: replace files that exist.
      coder: the range coder of the files, one of `coder.CODERS`.
    """

    plan: Plan = dataclasses.field(default_factory=Plan)
    quality: float | None = None
    estimate: bool = False
    batch_size: int = BATCH_SIZE
    keep: Path | None = None
    save_decoded: Path | None = None
    force: bool = False
    coder: str = codec.DEFAULT_CODER

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise EvaluationError(f"a batch has at least one picture, not {self.batch_size}")
        if self.estimate and self.keep is not None:
            raise EvaluationError("an estimate writes no files that could be kept")


class Picture(NamedTuple):
    """A picture to evaluate."""

    name: str  # its path below the folder that all pictures share
    pixels: np.ndarray  # uint8 [H, W, 3]


class Evaluated(NamedTuple):
    """A picture's result and what came out of the decoder."""

    row: Row
    decoded: np.ndarray  # uint8 [H, W, 3]


class Estimate(NamedTuple):
    """What a picture would cost and look like."""

    bits: float  # information content of all symbols that would be coded
    decoded: np.ndarray  # uint8 [H, W, 3]


class Quality(NamedTuple):
    """Quality of a decoded 8-bit picture; None as in `Row`."""

    psnr: float | None
    ms_ssim: float | None


def evaluate(model: Model, folders: Sequence[str | Path], settings: Settings) -> list[Row]:
    """One row per picture below the folders, in the order of their names.

    Raises `PictureError` when there are no pictures, `ImageError` for a picture that cannot be read
    or a file that cannot be written, `EvaluationError` for one that cannot be coded, and
    `EncodeError` for a plan that the model has no masks for.
    """
    rdo.require_masks(model, settings.plan)
    paths = named_pictures(folders)
    _check_targets(list(paths), settings)
    pictures = (Picture(name, images.load(path)) for name, path in paths.items())
    rows: dict[str, Row] = {}
    with contextlib.ExitStack() as stack:
        if settings.estimate:
            evaluated = estimate_all(
                model, pictures, settings.plan, settings.batch_size, settings.quality
            )
        else:
            folder = settings.keep or stack.enter_context(tempfile.TemporaryDirectory())
            evaluated = code_all(
                model, pictures, settings.plan, Path(folder), settings.force, settings.quality,
                settings.coder,
            )  # fmt: skip
        for row, decoded in tqdm(evaluated, total=len(paths), delay=2, leave=False):
            rows[row.name] = row
            if settings.save_decoded:
                target = _target(settings.save_decoded, row.name, PICTURE_SUFFIX)
                images.save(target, decoded, settings.force)
    return [rows[name] for name in paths]


def named_pictures(folders: Sequence[str | Path]) -> dict[str, Path]:
    """The pictures below the folders, each once, by their path below what the folders share.

    Raises `PictureError` when there are none.
    """
    paths = sorted({Path(os.path.abspath(path)) for path in pictures.find(folders)})
    root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    return {path.relative_to(root).as_posix(): path for path in paths}


def code_all(
    model: Model,
    pictures: Iterable[Picture],
    plan: Plan,
    folder: Path,
    force: bool = False,
    quality: float | None = None,
    coder: str = codec.DEFAULT_CODER,
) -> Iterator[Evaluated]:
    """Every picture through a real file in `folder`, timed without compilation.

    Raises `EvaluationError` when a picture cannot be coded, or when the decoder's picture is not
    the encoder's, and `ImageError` when a file cannot be written.
    """
    compiled: set[tuple[int, int]] = set()
    for picture in pictures:
        with _naming(picture):
            grid = partition.grid_of(*picture.pixels.shape[:2])
            if grid not in compiled:
                short = dataclasses.replace(plan, passes=min(plan.passes, 1))
                first = rdo.encode(model, picture.pixels, short, quality, coder)
                codec.decode(model, first.encoded.data)
                compiled.add(grid)
            began = time.perf_counter()
            found = rdo.encode(model, picture.pixels, plan, quality, coder)
            encoding_time = time.perf_counter() - began
            if found.searched and found.searched.interrupted:
                raise KeyboardInterrupt  # half a search is no result
            expected = found.encoded
            if expected.picture is None:
                expected = codec.encode(model, picture.pixels, found.partition, quality, coder)
        target = _target(folder, picture.name, FILE_SUFFIX)
        images.write_bytes(target, found.encoded.data, force)
        content = target.read_bytes()
        with _naming(picture):
            began = time.perf_counter()
            decoded = codec.decode(model, content).picture
            decoding_time = time.perf_counter() - began
        if content != expected.data or not np.array_equal(decoded, expected.picture):
            raise EvaluationError(f"{picture.name}: the decoder's picture is not the encoder's")
        bpp = 8 * len(content) / math.prod(picture.pixels.shape[:2])
        seen = measure(picture.pixels, decoded)
        yield Evaluated(Row(picture.name, bpp, *seen, encoding_time, decoding_time), decoded)


def measure(original: np.ndarray, decoded: np.ndarray) -> Quality:
    """Quality of uint8 [H, W, 3] against the original; compiled once per exact size."""
    x, x_hat = (v.astype(np.float32) / 255.0 for v in (original, decoded))
    psnr = float(objective.psnr(x, x_hat))
    large_enough = min(original.shape[:2]) >= objective.smallest_side()
    ms_ssim = float(objective.ms_ssim(x, x_hat)) if large_enough else None
    return Quality(psnr if math.isfinite(psnr) else None, ms_ssim)


def estimate_all(
    model: Model,
    pictures: Iterable[Picture],
    plan: Plan,
    batch_size: int = BATCH_SIZE,
    quality: float | None = None,
) -> Iterator[Evaluated]:
    """The estimate of every picture, in the order in which batches fill up."""
    for batch in batches(pictures, batch_size):
        pixels = [picture.pixels for picture in batch]
        partitions = [rdo.choose(model, image, plan, quality) for image in pixels]
        estimates = estimate_pictures(model, pixels, partitions, batch_size, quality)
        for picture, estimate in zip(batch, estimates, strict=True):
            if not math.isfinite(estimate.bits):
                raise EvaluationError(f"{picture.name}: its estimated rate is {estimate.bits}")
            bpp = estimate.bits / math.prod(picture.pixels.shape[:2])
            seen = measure(picture.pixels, estimate.decoded)
            yield Evaluated(Row(picture.name, bpp, *seen), estimate.decoded)


def batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Lists of up to `size` pictures of one padded size; only the last of each size is shorter."""
    waiting: dict[tuple[int, int], list[Picture]] = {}
    for picture in pictures:
        grid = partition.grid_of(*picture.pixels.shape[:2])
        group = waiting.setdefault(grid, [])
        group.append(picture)
        if len(group) == size:
            yield waiting.pop(grid)
    yield from waiting.values()


def estimate_picture(
    model: Model, image: np.ndarray, p: Partition, quality: float | None = None
) -> Estimate:
    """The estimate of one picture uint8 [H, W, 3] with the partition p.

    Raises `PartitionError` for a partition of another size.
    """
    return estimate_pictures(model, [image], [p], 1, quality)[0]


def estimate_pictures(
    model: Model,
    pixels: Sequence[np.ndarray],
    partitions: Sequence[Partition],
    batch_size: int,
    quality: float | None = None,
) -> list[Estimate]:
    """The estimates of up to `batch_size` pictures uint8 [H, W, 3] of one padded size.

    Missing pictures are black ones that code nothing, so that a batch always has the same shape.
    Raises `PartitionError` for a partition of another size than its picture's.
    """
    sizes = [image.shape[:2] for image in pixels]
    masks = [
        codec.coded_masks(partition.trim(p, *size), *size)
        for p, size in zip(partitions, sizes, strict=True)
    ]
    padded = np.concatenate([codec.pad_picture(image) for image in pixels])
    levels = tuple(_fill(np.stack(level), batch_size) for level in zip(*masks, strict=True))
    number = codec.stream_quality(model.config, quality)
    qualities = None if number is None else np.full(batch_size, number, np.int32)
    bits, decoded = estimate_batch(
        model.config, model.params, _fill(padded, batch_size), levels, qualities
    )
    return [
        Estimate(float(count), picture[:height, :width])
        for count, picture, (height, width) in zip(
            np.asarray(bits), np.asarray(decoded), sizes, strict=False
        )
    ]


@functools.partial(jax.jit, static_argnums=0)
def estimate_batch(
    config: AnyConfig,
    params: Any,
    pixels: jax.Array,
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Bits [B] and decoded pixels uint8 [B, H, W, 3] of padded pictures uint8 [B, H, W, 3].

    quality int32 [B] is on the model's own scale, None for a fixed lambda.
    masks[l] is bool [B, h, w]: where level l sends symbols, inside the picture. A hyper-latent is
    counted when any of its latents is, as in the codec.
    """
    x = pixels.astype(jnp.float32) / 255.0
    coded = families.code(config, params, x, masks, quality)
    bits = objective.total_bits((coded.y_bits, coded.z_bits))
    return bits, objective.to_8_bit(coded.x_hat)


def description(model: Model, rows: Sequence[Row], settings: Settings) -> str:
    """What the numbers are, on one line, for the results file and above the table."""
    if settings.estimate:
        kind = "estimated rate, no files"
    else:
        kind = f"real files, {settings.coder} range coder, times on {jax.default_backend()}"
    masks = _plan_words(settings.plan) if families.has_levels(model.config) else "one level"
    weights = f"{masks}, weights {model.digest.hex()}"
    number = codec.stream_quality(model.config, settings.quality)
    if number is not None:
        weights = f"quality {codec.quality_of(model.config, number):.4g}, {weights}"
    return "; ".join([kind, weights, f"mean over pictures: {len(rows)}", *results.notes(rows)])


def _plan_words(plan: Plan) -> str:
    """How partitions are chosen, in words."""
    init = f"{plan.init} mask" if isinstance(plan.init, str) else "given mask"
    if not plan.passes:
        return init
    return f"{plan.passes} pass{'es' if plan.passes > 1 else ''} of search from the {init}"


def _check_targets(names: Sequence[str], settings: Settings) -> None:
    """Raises `ImageError` before any work for files that would not be overwritten."""
    for folder, suffix in (
        (settings.keep, FILE_SUFFIX),
        (settings.save_decoded, PICTURE_SUFFIX),
    ):
        for name in names if folder else ():
            images.check_target(_target(folder, name, suffix), settings.force)


def _target(folder: Path, name: str, suffix: str) -> Path:
    """The path of a file about a picture; makes the folder that it is in."""
    path = folder / (name + suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"{path.parent}: cannot be made a folder: {error}") from error
    return path


@contextlib.contextmanager
def _naming(picture: Picture) -> Iterator[None]:
    """Names the picture in the codec's complaints."""
    try:
        yield
    except ValueError as error:
        raise EvaluationError(f"{picture.name}: cannot be coded: {error}") from error


def _fill(batch: np.ndarray, size: int) -> np.ndarray:
    """[N, ...] with zeros up to [size, ...]."""
    return np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1))
