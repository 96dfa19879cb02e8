"""A study: models with several settings, and conventional codecs, on the same images.

This is what one evaluation command measures. It gives a curve for every model, start of the search
and number of passes or level of effort, with a point for every quality. It gives a curve for every
anchor, over the range of rates of the models. Estimates and real files are measured separately,
each in its own table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.codec.image_quality import quality_of
from rdonet_jax.codec.qualities import stream_quality
from rdonet_jax.core.shard import WHOLE
from rdonet_jax.evaluation import (
    anchors,
    curves,
    equal_rate,
    hosts,
    real_files,
    results,
    shards,
)
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.measures import EvaluationError, NamedImage
from rdonet_jax.evaluation.real_files import Settings
from rdonet_jax.evaluation.results import Row
from rdonet_jax.imaging import dataset
from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.models import zoo
from rdonet_jax.rdo import effort
from rdonet_jax.rdo.encode_options import Plan

PrintLine = Callable[[str], None]
"""Is called with every line of the report."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What to measure.

    Attributes:
      data: folders of images.
      models: names of bundled models, or paths of weights files.
      qualities: 0 to 100, or None for fixed-rate models and for the default quality.
      inits: partitions at which the search starts, of `initial_masks.INITS`.
      passes: numbers of passes of the search.
      efforts: levels of effort in place of passes; empty for the passes.
      files: whether to measure real files.
      estimate: whether to estimate rates.
      shared: the other settings, for all points. Its folders get a subfolder for every point.
      joined: name of a single curve, whose points are fixed-rate models.
      anchors: names of `anchors.ANCHORS`.
      bpp: range of mean rates of the anchors; None for the range of the models, if there are any.
      equal_rate: whether anchors are measured at the file sizes of the models, image by image, in
        place of curves over a range.
      per_image: whether to show every image's results.
    """

    data: Sequence[Path] = ()
    models: Sequence[str] = ()
    qualities: Sequence[float | None] = (None,)
    inits: Sequence[str] = ("variance",)
    passes: Sequence[int] = (0,)
    efforts: Sequence[int] = ()
    files: bool = True
    estimate: bool = False
    shared: Settings = dataclasses.field(default_factory=Settings)
    joined: str | None = None
    anchors: Sequence[str] = ()
    bpp: tuple[float, float] | None = None
    equal_rate: bool = False
    per_image: bool = False

    def __post_init__(self) -> None:
        if not self.models and not self.anchors:
            raise EvaluationError("there is neither a model nor an anchor to evaluate")
        if not self.data:
            raise EvaluationError("there are no folders of images to evaluate on")
        if self.joined and len(self.qualities) > 1:
            raise EvaluationError("models that are joined to one curve have one quality each")
        if self.anchors and not self.files:
            raise EvaluationError("estimated rates are not compared with those of anchors' files")
        if self.equal_rate and not (self.models and self.anchors):
            raise EvaluationError("an equal rate needs a model and an anchor that is set to it")


class _Setting(NamedTuple):
    """One model, plan and quality."""

    model: zoo.Model
    settings: Settings
    quality: float | None  # rounded to the scale of the model
    plan: str  # its name
    curve: str  # the name of the curve to which this point belongs

    def label(self) -> str:
        quality = "" if self.quality is None else f", quality {self.quality:g}"
        return f"{self.model.name}, {self.plan}{quality}"


class Prepared(NamedTuple):
    """A study whose models are loaded, and what of it can be measured."""

    study: Study
    estimated: Sequence[_Setting]  # the settings whose rates are estimated
    real: Sequence[_Setting]  # those of real files
    anchors: Sequence[str]  # the names of those that are installed

    def names(self) -> list[str]:
        """The names of all curves, in the order in which they are measured."""
        estimated, real = _curve_names(self.estimated), _curve_names(self.real)
        return [*estimated, *real, *self.anchor_names()]

    def anchor_names(self) -> list[str]:
        """The names of the curves of anchors."""
        if not self.study.equal_rate:
            return list(self.anchors)
        models = _curve_names(self.real)
        return [equal_rate.curve_name(name, model) for name in self.anchors for model in models]


def prepare(study: Study, print_line: PrintLine) -> Prepared:
    """The study, ready to be measured. Shows a line for each anchor that is not installed.

    Raises `MissingMetricError` for a metric that is not installed, and what `zoo.load` raises.
    """
    quality_metrics.require(study.shared.metrics)
    settings = _settings(study, [zoo.load(name) for name in study.models])
    names, missing = anchors.available(study.anchors)
    for sentence in missing:
        print_line(f"left out: {sentence}")
    return Prepared(study, _estimates(study, settings), settings if study.files else [], names)


def run(prepared: Prepared, print_line: PrintLine) -> Iterator[list[Curve]]:
    """Measures the curves of a study: estimates, then models, then anchors.

    Gives all curves so far after every point of a model and after every anchor, so that they can
    be stored before something later fails. Raises `EvaluationError`, and what `real_files.evaluate`
    raises.
    """
    study = prepared.study
    with _raising_on_all(study, "every host has looked at the images"):
        _require_possible(prepared)
        sentences = list(_slow_metrics(study))
        width = _width(prepared)
    for sentence in sentences:
        print_line(sentence)
    estimated: list[Curve] = []
    for estimated in _model_curves(study, prepared.estimated, width, print_line):
        yield estimated
    real: list[Curve] = []
    for real in _model_curves(study, prepared.real, width, print_line):
        yield [*estimated, *real]
    if estimated and real:
        _show_difference(estimated, real, width, print_line)
    found = [*estimated, *real]
    # By the first host, if there are several.
    with _raising_on_all(study, "the anchors are measured"):
        for curve in _anchor_curves(prepared, real, width, print_line):
            found = [*found, curve]
            yield found


def _raising_on_all(study: Study, name: str) -> contextlib.AbstractContextManager[None]:
    """`hosts.raising_on_all`, which needs the devices; hosts share models alone."""
    return hosts.raising_on_all(name) if study.models else contextlib.nullcontext()


def _require_possible(prepared: Prepared) -> None:
    """Raises before anything is measured what a later setting or image would raise.

    Of images the headers are read, so damage after them is found when their turn comes.
    """
    study = prepared.study
    images = real_files.named_images(study.data, study.shared.shard)
    own = hosts.share(images) if study.models else images
    for setting in (*prepared.estimated, *prepared.real):
        real_files.require_possible(setting.model, study.data, list(own), setting.settings)
    for _ in dataset.in_threads(dataset.inspect, own.values()):
        pass


def _slow_metrics(study: Study) -> Iterator[str]:
    """A sentence for each slow metric on the time it takes, measured on the first image."""
    if not study.shared.metrics:
        return
    every = real_files.named_images(study.data, study.shared.shard)
    paths = hosts.share(every)
    if not paths:
        return
    name, path = next(iter(every.items()))  # the same on all hosts: one that is damaged ends all
    image = dataset.load(path)
    height, width = image.shape[:2]
    whose = " of this host" if len(paths) < len(every) else ""
    for metric, seconds in quality_metrics.seconds(image, study.shared.metrics).items():
        yield (
            f"{metric} takes {seconds:.2g} s for {name} ({width}x{height} pixels): about "
            f"{len(paths) * seconds:.0f} s for each row of the table, over {len(paths)} images"
            f"{whose}"
        )


def differences(estimated: Point, real: Point) -> list[float]:
    """The relative difference of file size and estimate for every image."""
    return [file.bpp / row.bpp - 1 for row, file in zip(estimated.rows, real.rows, strict=True)]


def _settings(study: Study, models: Sequence[zoo.Model]) -> list[_Setting]:
    """All settings of real files. Those of a curve are in the order of its points."""
    plans = _plans(study)
    found = []
    for model in models:
        same = [other for other in models if other.name == model.name]
        name = model.name if len(same) == 1 else f"{model.name}-{model.digest.hex()}"
        for plan_name, plan in plans.items():
            which = plan_name if len(plans) > 1 else ""
            for quality in study.qualities:
                number = stream_quality(model.config, quality)
                inside = (
                    name if len(models) > 1 else "",
                    which,
                    f"{quality:g}" if len(study.qualities) > 1 else "",
                )
                settings = dataclasses.replace(
                    study.shared,
                    plan=plan,
                    quality=quality,
                    estimate=False,
                    keep=_inside(study.shared.keep, inside),
                    save_decoded=_inside(study.shared.save_decoded, inside),
                )
                curve = f"{study.joined or name} {which}".strip()
                shown = quality_of(model.config, number)
                found.append(_Setting(model, settings, shown, plan_name, curve))
    return found


def _plans(study: Study) -> dict[str, Plan]:
    """The plans by name: every start with every level of effort, or number of passes."""
    if study.efforts:
        return {
            f"{init}+effort-{level}": effort.plan(level, init)
            for init in study.inits
            for level in study.efforts
        }
    return {f"{init}+{n}": Plan(init, n) for init in study.inits for n in study.passes}


def _curve_names(settings: Sequence[_Setting]) -> list[str]:
    """The names of the curves to which these settings belong, each once."""
    return list(dict.fromkeys(setting.curve for setting in settings))


def _inside(folder: str | os.PathLike[str] | None, parts: Sequence[str]) -> Path | None:
    return None if folder is None else Path(folder, *parts)


def _estimates(study: Study, settings: Sequence[_Setting]) -> list[_Setting]:
    """The settings whose rates are estimated. They save nothing if real files are measured too."""
    if not study.estimate:
        return []
    found = []
    for one in settings:
        saved = None if study.files else one.settings.save_decoded
        estimate = dataclasses.replace(one.settings, estimate=True, keep=None, save_decoded=saved)
        curve = f"{one.curve} (estimate)" if study.files else one.curve
        found.append(one._replace(settings=estimate, curve=curve))
    return found


def _model_curves(
    study: Study, settings: Sequence[_Setting], width: int, print_line: PrintLine
) -> Iterator[list[Curve]]:
    """The curves of models as they are after every point. Shows a line of the table for it."""
    found: dict[str, Curve] = {}
    shard = _shard(study)
    for setting in settings:
        rows = real_files.evaluate(setting.model, study.data, setting.settings)
        point = curves.point(setting.quality, rows)
        _show_point(study, setting.label(), point, width, not found, print_line)
        found[setting.curve] = _with_point(found.get(setting.curve), setting, point, shard)
        yield list(found.values())
    for curve in found.values():
        print_line(
            f"{curve.name}: {curve.description}; weights {', '.join(curve.settings['weights'])}"
        )


def _shard(study: Study) -> dict[str, Any]:
    """What is recorded of the part of the images that is measured; empty for all of them."""
    if study.shared.shard == WHOLE:
        return {}
    return shards.shard_settings(study.shared.shard, list(real_files.named_images(study.data)))


def _with_point(
    curve: Curve | None, setting: _Setting, point: Point, shard: Mapping[str, Any]
) -> Curve:
    """The curve of a setting with one more point. None is a curve without points."""
    model = setting.model
    recorded = (
        curve.settings if curve else {**real_files.curve_settings(model, setting.settings), **shard}
    )
    weights = dict.fromkeys([*recorded.get("weights", []), model.digest.hex()])
    points = (*(curve.points if curve else ()), point)
    return Curve(
        setting.curve,
        curves.description(real_files.kind(model, setting.settings), points),
        points,
        {**recorded, "weights": list(weights)},
    )


def _anchor_curves(
    prepared: Prepared, measured: Sequence[Curve], width: int, print_line: PrintLine
) -> Iterator[Curve]:
    """The curves of the anchors, one after the other. Shows a line of the table for every point."""
    study = prepared.study
    if not prepared.anchors:
        return
    paths = real_files.named_images(study.data)
    images = [NamedImage(name, dataset.load(path)) for name, path in paths.items()]
    found: list[Curve] = []
    for curve in _measured_anchors(prepared, images, measured):
        for number, point in enumerate(curve.points):
            is_first = not found and not number
            at = "" if point.quality is None else f" {point.quality:g}"
            _show_point(study, f"{curve.name}{at}", point, width, is_first, print_line)
        found.append(curve)
        yield curve
    for curve in found:
        print_line(f"{curve.name}: {curve.description}")


def _measured_anchors(
    prepared: Prepared, images: Sequence[NamedImage], measured: Sequence[Curve]
) -> Iterator[Curve]:
    """The curves of the anchors, one after the other."""
    study = prepared.study
    metrics = study.shared.metrics
    for name in prepared.anchors:
        if study.equal_rate:
            for model in measured:
                yield equal_rate.curve(name, images, model, metrics)
        else:
            bpp = study.bpp or _rates(measured)
            yield anchors.curve(name, images, bpp, metrics=metrics)


def _rates(measured: Sequence[Curve]) -> tuple[float, float]:
    """The range of mean rates of the curves; all rates if there are fewer than two points."""
    rates = [point.mean.bpp for curve in measured for point in curve.points]
    return (min(rates), max(rates)) if len(rates) > 1 else (0.0, math.inf)


def _show_point(
    study: Study, label: str, point: Point, width: int, is_first: bool, print_line: PrintLine
) -> None:
    rows: list[Row] = []
    if study.per_image:
        rows += [row._replace(name="  " + row.name) for row in point.rows]
    rows.append(point.mean._replace(name=label))
    print_line(results.aligned(rows, width, is_first))


def _show_difference(
    estimated: Sequence[Curve], real: Sequence[Curve], width: int, print_line: PrintLine
) -> None:
    """Shows by how much real files are larger than their estimates, by setting."""
    title = "files over estimate"
    print_line(f"{title:<{width}}       mean      least       most")
    for theirs, ours in zip(estimated, real, strict=True):
        for estimate, files in zip(theirs.points, ours.points, strict=True):
            parts = differences(estimate, files)
            quality = "" if files.quality is None else f" {files.quality:g}"
            values = (math.fsum(parts) / len(parts), min(parts), max(parts))
            cells = "".join(f"{part:>+11.2%}" for part in values)
            print_line(f"{ours.name + quality:<{width}}{cells}")


def _width(prepared: Prepared) -> int:
    """The length of the longest name in a table."""
    study = prepared.study
    names = [setting.label() for setting in (*prepared.estimated, *prepared.real)]
    names += [f"{name} 100" for name in prepared.anchor_names()]
    if study.per_image:
        names += ["  " + name for name in real_files.named_images(study.data, study.shared.shard)]
    return max(map(len, names), default=0)
