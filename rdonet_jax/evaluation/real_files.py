"""Rate and quality of a model on a folder of images: by real files, or by a fast estimate.

Real files are the default and what is reported: every image is compressed, written, read back
and decompressed. The rate is that of the whole file, and the seconds are those from pixels to bytes
(the choice of the partition included) and from bytes to pixels, reading and writing left out. They
hold no compilation: the first image of every padded size is coded and decoded once beforehand,
untimed.

The estimate is that of `estimate`; its rate is a little lower and it has no times, so the two
never share a table.

In both, quality is that of 8-bit images, of the image's own pixels, and every mean is taken
over images, whatever their sizes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from rdonet_jax.codec import codec, engine_choice
from rdonet_jax.codec.codec import Encoded
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX, DEFAULT_CODER
from rdonet_jax.core.shard import WHOLE, Shard
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.evaluation import hosts, measures
from rdonet_jax.evaluation.measures import Evaluated, EvaluationError, NamedImage
from rdonet_jax.evaluation.results import Row
from rdonet_jax.imaging import dataset, image_names, named_datasets, output_files, srgb
from rdonet_jax.imaging.dataset import Folders, ImageFile
from rdonet_jax.imaging.packed_image import PackedImage
from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import coding, encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.runtime import interrupts, processors
from rdonet_jax.storage import urls

FILE_SUFFIX, IMAGE_SUFFIX = COMPRESSED_SUFFIX, f"{COMPRESSED_SUFFIX}.png"
"""Appended to an image's name for its compressed file and for the decoded image."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate and what to leave behind.

    Attributes:
      plan: how partitions and latents are chosen.
      quality: 0 to 100 for a variable-rate model, None for a fixed-rate model.
      estimate: estimate the rate instead of writing files.
      batch_size: of the estimate.
      keep: folder for the compressed files, which are temporary without it.
      save_decoded: folder for the decoded images, as PNG.
      force: replace files that exist.
      coder: the range coder of the files, one of `range_coder.CODERS`.
      shard: the part of the images to evaluate.
      metrics: names of metrics to measure beside the default ones, see `metrics.quality`.

    Raises `EvaluationError` for values that do not go together, and for unknown metrics.
    """

    plan: Plan = dataclasses.field(default_factory=Plan)
    quality: float | None = None
    estimate: bool = False
    batch_size: int = evaluation_estimate.BATCH_SIZE
    keep: str | os.PathLike[str] | None = None
    save_decoded: str | os.PathLike[str] | None = None
    force: bool = False
    coder: str = DEFAULT_CODER
    shard: Shard = WHOLE
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise EvaluationError(f"a batch has at least one image, not {self.batch_size}")
        if self.estimate and self.keep is not None:
            raise EvaluationError("an estimate writes no files that could be kept")
        if self.estimate and self.plan.refinements:
            raise EvaluationError(
                "an estimate refines no latents, as the higher levels of effort do"
            )
        if isinstance(self.metrics, str):
            raise EvaluationError(f"metrics are a tuple of names, not the text {self.metrics!r}")
        for name in self.metrics:
            if name not in quality_metrics.METRICS:
                raise EvaluationError(
                    f"there is no metric {name!r}, only {', '.join(quality_metrics.METRICS)}"
                )


def evaluate(model: Model, folders: Folders, settings: Settings) -> list[Row]:
    """One row per image below the folders, or below one folder, in the order of their names.

    Several hosts share the images, and all get all rows. What is kept or saved is written by the
    host that has the image.

    Raises `DatasetError` when there are no images, `ImageError` for an image that cannot be read
    or a file that cannot be written, `EvaluationError` for an image that cannot be coded and for
    decoded images that would be saved among those that are measured, `EncodeError` for a plan that
    the model has no masks for, and `MissingMetricError` for a metric that needs what is not
    installed.
    """
    with hosts.raising_on_all("every host has found its images"):
        quality_metrics.require(settings.metrics)
        paths = named_images(folders, settings.shard)
        own = hosts.share(paths)
        require_possible(model, folders, list(own), settings)
    hosts.require_equal((model.name, model.digest, settings, list(paths)))
    images = (NamedImage(name, dataset.load(path)) for name, path in own.items())
    rows: dict[str, Row] = {}
    with hosts.raising_on_all(), contextlib.ExitStack() as stack:
        if settings.estimate:
            evaluated = evaluation_estimate.estimate_all(
                model, images, settings.plan, settings.batch_size, settings.quality,
                settings.metrics,
            )  # fmt: skip
        else:
            folder = settings.keep or stack.enter_context(interrupts.temporary_folder())
            evaluated = code_all(model, images, settings, Path(folder))
        for row, decoded in tqdm(evaluated, total=len(own), delay=2, leave=False):
            rows[row.name] = row
            if settings.save_decoded:
                target = _target(settings.save_decoded, row.name, IMAGE_SUFFIX)
                srgb.save(target, decoded, settings.force)
    return hosts.gather_rows(rows, list(paths))


def named_images(folders: Folders, shard: Shard = WHOLE) -> dict[str, ImageFile]:
    """The images below the folders, each once, by their path below what the folders share.

    Equal names, as in shards of several folders, are numbered. Of folders at URLs these are local
    copies. Raises `DatasetError` when there are none,
    `EvaluationError` when none is in the shard, and `UrlError`.
    """
    folders = dataset.local(dataset.listed(folders))
    placed = [(_absolute(path), path) for path in dataset.find(folders)]
    paths = sorted(placed, key=lambda one: one[0])
    root = os.path.commonpath([_absolute(folder) for folder in folders])
    names = image_names.numbered([full.relative_to(root).as_posix() for full, _ in paths])
    found = shard.part(
        [
            (name, path if isinstance(path, PackedImage) else full)
            for name, (full, path) in zip(names, paths, strict=True)
        ]
    )
    if not found:
        raise EvaluationError(
            f"there are {len(paths)} images, none of them in part {shard}; --merge needs only the "
            "parts that have images"
        )
    return dict(found)


def _absolute(source: str | ImageFile) -> Path:
    """Where an image or a folder lies; for a URL and the name of a dataset, a path made of it."""
    if isinstance(source, PackedImage):
        return source.absolute()
    if named_datasets.is_name(source):
        return named_datasets.absolute(source)
    if urls.is_url(source):
        return Path("/", *urls.parts(str(source)))
    return Path(os.path.abspath(source))


def code_all(
    model: Model, images: Iterable[NamedImage], settings: Settings, folder: Path
) -> Iterator[Evaluated]:
    """Every image through a real file in `folder`, timed without compilation.

    Raises `EvaluationError` when an image cannot be coded, or when the decoder's image is not the
    encoder's, and `ImageError` when a file cannot be written.
    """
    options = EncodeOptions(settings.quality, plan=settings.plan, coder=settings.coder)
    compiled: set[tuple[int, int]] = set()
    for image in images:
        with measures.naming(image.name):
            grid = partition.block_grid(*image.pixels.shape[:2])
            if grid not in compiled:
                _compile(model, image.pixels, options)
                compiled.add(grid)
            expected, encoding_time = _timed_encoding(model, image.pixels, options)
        target = _target(folder, image.name, FILE_SUFFIX)
        output_files.write_bytes(target, expected.data, settings.force)
        content = target.read_bytes()
        with measures.naming(image.name):
            began = time.perf_counter()
            decoded = codec.decode(model, content).image
            decoding_time = time.perf_counter() - began
        if content != expected.data or not np.array_equal(decoded, expected.pixels):
            raise EvaluationError(f"{image.name}: the decoder's image is not the encoder's")
        bpp = measures.bits_per_pixel(len(content), image.pixels)
        seen = quality_metrics.measure(image.pixels, decoded, settings.metrics)
        yield Evaluated(Row(image.name, bpp, seen, encoding_time, decoding_time), decoded)


def _compile(model: Model, pixels: np.ndarray, options: EncodeOptions) -> None:
    """Codes and decodes an image with as little search and refinement as compiles everything."""
    plan = options.plan
    short = dataclasses.replace(
        plan, passes=min(plan.passes, 1), refinements=min(plan.refinements, 1)
    )
    first = coding.encode(model, pixels, dataclasses.replace(options, plan=short))
    codec.decode(model, first.encoded.data)


def _timed_encoding(
    model: Model, pixels: np.ndarray, options: EncodeOptions
) -> tuple[Encoded, float]:
    """The encoded image, with the pixels that a decoder is to give, and the seconds it took.

    These pixels take time that an encoder does not need, and are not in the seconds where the
    encoder has not computed them itself.
    """
    began = time.perf_counter()
    found = coding.encode(model, pixels, options)
    seconds = time.perf_counter() - began
    if found.searched and found.searched.interrupted:
        raise KeyboardInterrupt  # half a search is no result
    encoded = found.encoded
    if encoded.image is None:
        again = codec.encode(model, pixels, found.partition, options.quality, options.coder)
        if again.data != encoded.data:
            raise EvaluationError("encoding it twice gave two different files")
        encoded = again
    return encoded, seconds


def kind(model: Model, settings: Settings) -> str:
    """What the numbers are, on one line, for the results file and below the table."""
    if settings.estimate:
        measured = "estimated rate, no files"
    else:
        engine = _engine_words(_engine(model), settings.plan)
        measured = f"real files, {settings.coder} range coder, times on {engine}"
    has_levels = registry.family_of(model.config).has_levels(model.config)
    return f"{measured}; {_plan_words(settings.plan, has_levels)}"


def curve_settings(model: Model, settings: Settings) -> dict[str, Any]:
    """What fixes the numbers beside weights and quality, for the results file.

    Engine and threads fix the times alone.
    """
    plan = settings.plan
    shared = {
        "rate": "estimate" if settings.estimate else "real files",
        "init": plan.init if isinstance(plan.init, str) else "given",
        "passes": plan.passes,
        "trials": plan.trials,
        "refinements": plan.refinements,
    }
    own: dict[str, Any] = {"batch_size": settings.batch_size}
    if not settings.estimate:
        own = {"coder": settings.coder, **_engine(model)}
    software = f"JAX {jax.__version__}, NumPy {np.__version__}, {jax.default_backend()}"
    return {**shared, **own, "software": software, **measures.software_settings(settings.metrics)}


def _engine(model: Model) -> dict[str, Any]:
    """The engine of files by this model, and for NumPy how many threads it has."""
    engine = engine_choice.choose(model.config)
    return {
        "engine": engine,
        **({"threads": processors.blas_threads()} if engine == "numpy" else {}),
    }


def _engine_words(engine: Mapping[str, Any], plan: Plan) -> str:
    """What computes, in words. Whatever the engine, a search and a refinement are by JAX."""
    if "threads" not in engine:
        return f"{jax.default_backend()} by JAX"
    others = ", search and refinement by JAX" if plan.passes or plan.refinements else ""
    return f"cpu by NumPy{others}"


def _plan_words(plan: Plan, has_levels: bool) -> str:
    """How partitions and latents are chosen, in words."""
    words = "one level"
    if has_levels:
        words = f"{plan.init} mask" if isinstance(plan.init, str) else "given mask"
    if plan.passes:
        words = f"{plan.passes} pass{'es' if plan.passes > 1 else ''} of search from the {words}"
        words += f" with up to {plan.trials} trials" if plan.trials != Plan.trials else ""
    count = plan.refinements
    return words + (f", {count} iterations of latent refinement" if count else "")


def require_possible(
    model: Model, folders: Folders, names: Sequence[str], settings: Settings
) -> None:
    """Raises what `evaluate` raises for a plan, and for files about images of these names."""
    encoder.require_plan(model, settings.plan)
    _require_apart(folders, settings)
    _check_targets(names, settings)


def _require_apart(folders: Folders, settings: Settings) -> None:
    """Raises `EvaluationError` if decoded images would lie among those that are measured."""
    if settings.save_decoded is None:
        return
    saved = Path(os.path.realpath(settings.save_decoded))
    for folder in dataset.listed(folders):
        if saved.is_relative_to(os.path.realpath(folder)):
            raise EvaluationError(
                f"{settings.save_decoded}: decoded images in the folder of the images, {folder}, "
                "would be measured as well"
            )


def _check_targets(names: Sequence[str], settings: Settings) -> None:
    """Raises `ImageError` before any work for files that would not be overwritten."""
    for folder, suffix in (
        (settings.keep, FILE_SUFFIX),
        (settings.save_decoded, IMAGE_SUFFIX),
    ):
        if folder is None:
            continue
        for name in names:
            output_files.check_target(_target(folder, name, suffix), settings.force)


def _target(folder: str | os.PathLike[str], name: str, suffix: str) -> Path:
    """The path of a file about an image; makes the folder that it is in."""
    path = Path(folder, name + suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"{path.parent}: cannot be made a folder: {error}") from error
    return path
