"""Evaluate models and conventional codecs on folders of images, compare them, and draw a report.

{program} --data DIR --model NAME|PATH [--quality Q ...] [--init START ...] [--rdo N ...]
{program} --data DIR --model NAME|PATH [--quality Q ...] --effort N ...
{program} --data DIR --model NAME|PATH --estimate
{program} --data DIR --anchors jpeg webp --metrics ssimulacra2 -o anchors.json
{program} --results ours.json anchors.json --bd-rate jpeg --report report.html
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rdonet_jax.cli import extensions, output
from rdonet_jax.cli.options import eval_options, host_options
from rdonet_jax.cli.program import exit_code
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import config
from rdonet_jax.evaluation import bd_rates, curves, hosts, measures, real_files, shards, study
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.report import page, plots, showcase
from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.metrics import libraries
from rdonet_jax.models import zoo
from rdonet_jax.rdo import effort, encode_options
from rdonet_jax.runtime import multihost
from rdonet_jax.runtime.platform import require_platform

EXPECTED_ERRORS = (
    bd_rates.BdRateError,
    EncodeError,
    config.ConfigError,
    curves.CurveError,
    measures.EvaluationError,
    ImageError,
    dataset.DatasetError,
    libraries.MissingMetricError,
    plots.PlotError,
    zoo.ZooError,
)

READY, WRITTEN = "every host is ready", "everything is written"
"""What all hosts wait for before the first image and at the end."""


def evaluate(options: argparse.Namespace) -> None:
    """Prints tables and writes what is asked for; of several hosts, the first one does."""
    if host_options.join(options) and not multihost.is_first():
        _measure_share(options)
    else:
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    """Does everything but for the other hosts' shares."""
    with _raising_on_all(options, READY):
        examples = showcase_options(options)
        _check_outcomes(options)
        stored = [curve for path in options.results for curve in curves.read(path)]
        prepared = _prepared(options, [curve.name for curve in stored])
    everything = curves.distinct(_curves(options, stored, prepared))
    with _raising_on_all(options, WRITTEN):
        if options.bd_rate:
            curves.require_reference(options.bd_rate, [curve.name for curve in everything])
            reference = curves.named(everything, options.bd_rate)
            output.say("\n".join(bd_rates.table(everything, reference)))
        draw(options, everything, examples)


def _measure_share(options: argparse.Namespace) -> None:
    """Measures this host's share of the images by the models, for the first host."""
    require_platform()
    own = dataclasses.replace(study_of(options), anchors=(), equal_rate=False)
    with _raising_on_all(options, READY):
        prepared = study.prepare(own, _unsaid)
    for _ in study.run(prepared, _unsaid):
        pass
    # A host that ends waits a few minutes for the others, and then JAX aborts them.
    with _raising_on_all(options, WRITTEN):
        pass


def _raising_on_all(
    options: argparse.Namespace, name: str
) -> contextlib.AbstractContextManager[None]:
    """A context for what hosts do before they measure, and the first one after it: an error is
    raised on all of them."""
    return (
        hosts.raising_on_all(name) if host_options.are_given(options) else contextlib.nullcontext()
    )


def _unsaid(line: str) -> None:
    """What another host says is not said again."""


def _check_outcomes(options: argparse.Namespace) -> None:
    """Raises before anything is measured what files, figures and rates would raise after it."""
    taken = set()
    for path in _outputs(options):
        curves.check_target(path, options.force)
        if (real := os.path.realpath(path)) in taken:
            raise measures.EvaluationError(f"{path}: is named for two results")
        taken.add(real)
    for path in filter(None, [*options.plot, options.quality_plot]):
        plots.require(path)
    if options.bd_rate:
        bd_rates.require()


def _prepared(options: argparse.Namespace, stored: Sequence[str]) -> study.Prepared | None:
    """The study, ready to be measured; None if nothing is to be measured.

    `stored`: the names of the other curves. Raises `CurveError` if neither these nor the ones to be
    measured have the name in `--bd-rate`, and `EvaluationError` if there is neither.
    """
    if options.merge or not (options.model or options.anchors):
        return None
    require_platform()
    prepared = study.prepare(study_of(options), output.say)
    names = curves.distinct_names([*prepared.names(), *stored])
    if not names:
        raise measures.EvaluationError(
            "there is nothing to measure, since none of the anchors is installed"
        )
    if options.bd_rate:
        curves.require_reference(options.bd_rate, names)
    return prepared


def _curves(
    options: argparse.Namespace, stored: list[Curve], prepared: study.Prepared | None
) -> list[Curve]:
    """The curves to compare: those that are measured or merged here, and others in `--results`."""
    if options.merge:
        merged = shards.merge(stored)
        if options.out:
            curves.write(options.out, merged, options.force)
        return merged
    return [*_measured(options, prepared), *stored] if prepared else stored


def _measured(options: argparse.Namespace, prepared: study.Prepared) -> list[Curve]:
    """Measures the curves. Those that are there are in `--out` after each point or anchor."""
    measured: list[Curve] = []
    force = options.force
    for measured in study.run(prepared, output.say):
        if options.out:
            curves.write(options.out, measured, force)
            force = True  # the file is that of this call from now on
    return measured


def study_of(options: argparse.Namespace) -> study.Study:
    """The study that the command line asks for."""
    shared = real_files.Settings(
        estimate=options.estimate and not options.files,
        batch_size=options.batch_size,
        keep=options.keep,
        save_decoded=options.save_decoded,
        force=options.force,
        coder=options.coder,
        shard=options.shard,
        metrics=tuple(dict.fromkeys(options.metrics)),
    )
    return study.Study(
        data=options.data,
        models=tuple(dict.fromkeys(options.model)),
        qualities=tuple(dict.fromkeys(options.quality)),
        inits=options.init,
        passes=options.rdo,
        efforts=options.effort,
        files=options.files or not options.estimate,
        estimate=options.estimate,
        shared=shared,
        joined=options.join,
        anchors=options.anchors,
        bpp=options.bpp and tuple(options.bpp),
        equal_rate=options.equal_rate,
        per_image=options.per_image,
    )


def draw(
    options: argparse.Namespace,
    everything: Sequence[Curve],
    examples: showcase.ShowcaseOptions | None,
) -> None:
    """Writes the plots and the page."""
    for path in options.plot:
        plots.rate_distortion(path, everything, options.force)
    if options.report:
        shown = showcase.images(examples) if examples else []
        page.write(options.report, everything, shown, options.bd_rate, options.force)
    # The last one: it is refused where the first curve has no qualities.
    if options.quality_plot:
        plots.over_quality(options.quality_plot, everything[0], options.force)


def showcase_options(options: argparse.Namespace) -> showcase.ShowcaseOptions | None:
    """The images for the page: by the first model, in the middle of the qualities; None without
    page or model.

    Raises `EvaluationError` for a number of images that is negative.
    """
    if not (options.report and options.model):
        return None
    return showcase.ShowcaseOptions(
        data=options.data,
        model=options.model[0],
        quality=_middle(options.quality),
        plan=_most_work(options),
        coder=options.coder,
        anchors=options.anchors,
        count=options.report_images,
        shard=options.shard,
        metrics=tuple(options.metrics),
    )


def _middle(qualities: Sequence[float | None]) -> float | None:
    """The middle one by size. None, the default quality, stands alone."""
    given = sorted(quality for quality in qualities if quality is not None)
    return given[len(given) // 2] if given else None


def _most_work(options: argparse.Namespace) -> encode_options.Plan:
    """The plan of the most work from the first start."""
    init = options.init[0]
    if options.effort:
        return effort.plan(max(options.effort), init)
    return encode_options.Plan(init, max(options.rdo))


def _outputs(options: argparse.Namespace) -> list[str | Path]:
    named = (options.out, options.quality_plot, options.report, *options.plot)
    return [path for path in named if path]


def run(arguments: Sequence[str], program: str = "rdonet eval") -> int:
    """The command as a process of its own, perhaps one of several hosts; returns the exit code."""
    try:
        with multihost.failing_together():
            sys.exit(main(arguments, program))
    except SystemExit as stop:
        return int(stop.code or 0)


def main(arguments: Sequence[str], program: str = "rdonet eval") -> int:
    """The exit code: 0, or after one line that says what is wrong 1, 2 for wrong usage, 130 after
    Ctrl-C."""

    output.show_warnings(program)

    def work() -> int:
        extensions.import_named(arguments, program)
        evaluate(eval_options.parse(arguments, program, __doc__ or ""))
        return 0

    return exit_code(work, EXPECTED_ERRORS, program)
