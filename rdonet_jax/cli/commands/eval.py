"""Evaluate models and conventional codecs on folders of images, compare them, and draw a report.

{program} --data DIR --model NAME|PATH [--quality Q ...] [--init START ...] [--rdo N ...]
{program} --data DIR --model NAME|PATH --estimate
{program} --data DIR --anchors jpeg webp --metrics ssimulacra2 -o anchors.json
{program} --results ours.json anchors.json --bd-rate jpeg --report report.html
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from rdonet_jax.cli import console
from rdonet_jax.cli.options import argument_types, host_options
from rdonet_jax.cli.program import Parser, exit_code
from rdonet_jax.codec import codec
from rdonet_jax.core import config, multihost, urls
from rdonet_jax.core.shard import WHOLE
from rdonet_jax.entropy import range_coder
from rdonet_jax.evaluation import anchors, bd_rates, curves, estimate, measures, real_files, study
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.report import page, plots, showcase
from rdonet_jax.imaging import dataset, srgb
from rdonet_jax.metrics import libraries, quality
from rdonet_jax.models import zoo
from rdonet_jax.rdo import encode_options, initial_masks

EXPECTED_ERRORS = (
    bd_rates.BdRateError,
    codec.EncodeError,
    config.ConfigError,
    console.CommandError,
    curves.CurveError,
    measures.EvaluationError,
    srgb.ImageError,
    dataset.DatasetError,
    libraries.MissingMetricError,
    plots.PlotError,
    zoo.ZooError,
)


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog=program,
        description=(__doc__ or "").format(program=program),
        usage=f"{program} [options]",
    )
    _add_subjects(parser.add_argument_group("what to measure"))
    _add_ways(parser.add_argument_group("how"))
    _add_outcomes(parser.add_argument_group("what to do with it"))
    host_options.add(parser)
    options = parser.parse_args(arguments)
    if not (options.model or options.anchors or options.results):
        parser.error("give --model, --anchors or --results")
    if (options.model or options.anchors) and not options.data:
        parser.error("--model and --anchors need --data")
    if options.out and not (options.model or options.anchors or options.merge):
        parser.error("-o holds what is measured, so it needs --model or --anchors, or --merge")
    if options.equal_rate and not (options.model and options.anchors):
        parser.error("--equal-rate needs --model and --anchors")
    if options.equal_rate and options.bpp:
        parser.error("--equal-rate and --bpp exclude each other")
    if options.metrics and not (options.model or options.anchors):
        parser.error("--metrics are measured, so they need --model or --anchors")
    if options.bpp and not 0 < options.bpp[0] < options.bpp[1]:
        parser.error("--bpp needs a lower and a higher rate, both positive")
    if options.shard != WHOLE and options.anchors:
        parser.error("--shard is for models: settings of anchors follow from rates of all images")
    if options.merge and (options.model or options.anchors or not options.results):
        parser.error("--merge joins the shards in --results, and measures nothing")
    if host_options.are_given(options) and not options.model:
        parser.error("several hosts share the images of --model; nothing else is shared")
    if options.files and not options.estimate:
        parser.error("--files is said beside --estimate; without it, files are written anyway")
    return options


def _add_subjects(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data", nargs="+", metavar="DIR", help="folders of images, URLs or names of datasets"
    )
    group.add_argument(
        "--model",
        nargs="+",
        default=[],
        help="names of bundled models, or weights files, also at URLs",
    )
    group.add_argument(
        "--quality", nargs="+", type=float, metavar="Q", default=[None],
        help="one or more qualities, 0 to 100, of models that have all (default: 50)",
    )  # fmt: skip
    group.add_argument(
        "--init", "--mask", nargs="+", default=["variance"], choices=initial_masks.INITS,
        help="which level codes which block, or where the search for it starts",
    )  # fmt: skip
    group.add_argument(
        "--rdo", nargs="+", type=int, choices=range(encode_options.MAX_PASSES + 1), default=[0],
        help="passes of a search for the partition that costs least (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--join", metavar="NAME", help="the models, each of one lambda, are points of one curve"
    )
    group.add_argument(
        "--anchors", nargs="+", default=[], choices=list(anchors.ANCHORS),
        help="conventional codecs, over the rates of the models",
    )  # fmt: skip
    group.add_argument(
        "--bpp", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="mean rates that the anchors' curves are to span",
    )  # fmt: skip
    group.add_argument(
        "--equal-rate", action="store_true",
        help="anchors at the file size of every image by the models, in place of curves",
    )  # fmt: skip
    group.add_argument(
        "--metrics", nargs="+", default=[], choices=quality.optional(), metavar="NAME",
        help=f"beside PSNR and MS-SSIM: {', '.join(quality.optional())}",
    )  # fmt: skip
    group.add_argument(
        "--results", nargs="+", type=urls.parsed, default=[], metavar="FILE",
        help="curves of earlier calls, or others in CompressAI's schema",
    )  # fmt: skip


def _add_ways(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--shard", metavar="I/N", type=argument_types.shard, default=WHOLE,
        help="every N-th image alone, from the I-th on; --merge joins the results",
    )  # fmt: skip
    group.add_argument(
        "--merge", action="store_true", help="join the shards of evaluations in --results"
    )
    group.add_argument(
        "--estimate", action="store_true", help="estimate the rate in batches, write no files"
    )
    group.add_argument(
        "--files", action="store_true",
        help="beside --estimate: real files too, and how far the two are apart",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", type=int, default=estimate.BATCH_SIZE, help="of the estimate"
    )
    group.add_argument(
        "--coder",
        default=codec.DEFAULT_CODER,
        choices=range_coder.CODERS,
        help="range coder of files",
    )


def _add_outcomes(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--per-image", action="store_true", help="show every image's results")
    group.add_argument(
        "-o",
        "--out",
        "--output",
        type=urls.parsed,
        help="JSON file of the curves, in CompressAI's schema; may be a URL",
    )
    group.add_argument(
        "--keep",
        type=argument_types.local_path,
        metavar="DIR",
        help="keep the compressed files here",
    )
    group.add_argument(
        "--save-decoded",
        type=argument_types.local_path,
        metavar="DIR",
        help="write the decoded images here",
    )
    group.add_argument(
        "--bd-rate", metavar="CURVE", help="Bjøntegaard rates against the curve of this name"
    )
    group.add_argument(
        "--plot",
        nargs="+",
        type=argument_types.local_path,
        default=[],
        metavar="FILE",
        help="PNG or SVG of the curves",
    )
    group.add_argument(
        "--quality-plot", type=argument_types.local_path, metavar="FILE",
        help="PNG or SVG of rate and PSNR over the quality of the first curve",
    )  # fmt: skip
    group.add_argument(
        "--report",
        type=argument_types.local_path,
        metavar="FILE",
        help="a page of HTML with everything",
    )
    group.add_argument(
        "--report-pictures", type=int, default=4, metavar="N",
        help="how many images the page shows (default: 4)",
    )  # fmt: skip
    group.add_argument("--force", action="store_true", help="replace files that exist")


def evaluate(options: argparse.Namespace) -> None:
    """Prints tables and writes what is asked for; of several hosts, the first one does."""
    if host_options.join(options) and not multihost.is_first():
        study.run(dataclasses.replace(study_of(options), anchors=(), equal_rate=False), _unsaid)
        return
    for path in _targets(options):
        curves.check_target(path, options.force)
    stored = [curve for path in options.results for curve in curves.read(path)]
    measured: list[Curve] = []
    if options.merge:
        measured, stored = curves.merged(stored), []
    if options.model or options.anchors:
        measured = study.run(study_of(options), console.say)
    if options.out:
        curves.write(options.out, measured, options.force)
    everything = curves.distinct([*measured, *stored])
    if options.bd_rate:
        reference = curves.named(everything, options.bd_rate)
        console.say("\n".join(bd_rates.table(everything, reference)))
    draw(options, everything)


def _unsaid(line: str) -> None:
    """What another host says is not said again."""


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
        models=options.model,
        qualities=options.quality,
        inits=options.init,
        passes=options.rdo,
        files=options.files or not options.estimate,
        estimate=options.estimate,
        shared=shared,
        joined=options.join,
        anchors=options.anchors,
        bpp=options.bpp and tuple(options.bpp),
        equal_rate=options.equal_rate,
        per_image=options.per_image,
    )


def draw(options: argparse.Namespace, everything: Sequence[Curve]) -> None:
    """Writes the plots and the page."""
    for path in options.plot:
        plots.rate_distortion(path, everything, options.force)
    if options.quality_plot:
        plots.over_quality(options.quality_plot, everything[0], options.force)
    if options.report:
        shown = showcase.images(show_of(options)) if options.model else []
        page.write(options.report, everything, shown, options.bd_rate, options.force)


def show_of(options: argparse.Namespace) -> showcase.Show:
    """The images for the page: by the first model, in the middle of the qualities."""
    return showcase.Show(
        data=options.data,
        model=options.model[0],
        quality=options.quality[len(options.quality) // 2],
        plan=encode_options.Plan(options.init[0], max(options.rdo)),
        coder=options.coder,
        anchors=options.anchors,
        count=options.report_pictures,
        metrics=tuple(options.metrics),
    )


def _targets(options: argparse.Namespace) -> list[str | Path]:
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

    console.show_warnings(program)

    def work() -> int:
        evaluate(parse(arguments, program))
        return 0

    return exit_code(work, EXPECTED_ERRORS, program)
