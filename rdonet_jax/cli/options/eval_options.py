"""The options of `rdonet eval`, and whether they agree with each other."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from rdonet_jax.cli.options import argument_types, host_options
from rdonet_jax.cli.options.command_parser import add_import_option
from rdonet_jax.cli.program import Parser
from rdonet_jax.core.defaults import DEFAULT_CODER
from rdonet_jax.core.shard import WHOLE
from rdonet_jax.entropy import range_coder
from rdonet_jax.evaluation import anchors, estimate
from rdonet_jax.metrics import quality
from rdonet_jax.rdo import effort, encode_options, initial_masks
from rdonet_jax.storage import urls

NEEDS: Sequence[tuple[str, Sequence[str]]] = (
    ("--model", ("--data",)),
    ("--anchors", ("--data",)),
    ("--data", ("--model", "--anchors")),
    ("--quality", ("--model",)),
    ("--init", ("--model",)),
    ("--rdo", ("--model",)),
    ("--effort", ("--model",)),
    ("--join", ("--model",)),
    ("--shard", ("--model",)),
    ("--estimate", ("--model",)),
    ("--files", ("--estimate",)),
    ("--batch-size", ("--estimate",)),
    ("--coder", ("--model",)),
    ("--keep", ("--model",)),
    ("--save-decoded", ("--model",)),
    ("--bpp", ("--anchors",)),
    ("--equal-rate", ("--model",)),
    ("--equal-rate", ("--anchors",)),
    ("--metrics", ("--model", "--anchors")),
    ("--per-image", ("--model", "--anchors")),
    ("--out", ("--model", "--anchors", "--merge")),
    ("--report-images", ("--report",)),
    ("--results", ("--bd-rate", "--plot", "--quality-plot", "--report", "--merge")),
    ("--merge", ("--out", "--bd-rate", "--plot", "--quality-plot", "--report")),
    ("--report-images", ("--model",)),
)
"""Options, each with the others of which it needs one, since alone it would have no effect."""

DEFAULTS: Mapping[str, Any] = {
    "quality": [None],
    "init": ["variance"],
    "rdo": [0],
    "shard": WHOLE,
    "batch_size": estimate.BATCH_SIZE,
    "coder": DEFAULT_CODER,
    "report_images": 4,
}
"""What holds where an option is not given. The parser leaves None there."""


def parse(arguments: Sequence[str], program: str, description: str) -> argparse.Namespace:
    """The command line. Ends the program for wrong usage, with a sentence that says why.

    `description` is for the help and may hold the field `program`.
    """
    parser = Parser(
        prog=program,
        description=description.format(program=program),
        usage=f"{program} [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_subjects(parser.add_argument_group("what to measure"))
    _add_ways(parser.add_argument_group("how"))
    _add_outcomes(parser.add_argument_group("what to do with it"))
    add_import_option(parser)
    host_options.add(parser)
    options = parser.parse_args(arguments)
    if not (options.model or options.anchors or options.results):
        parser.error("give --model, --anchors or --results")
    if host_options.are_given(options) and not options.model:
        parser.error("several hosts share the images of --model; nothing else is shared")
    _refuse_conflicts(parser, options)
    for option, needed in NEEDS:
        if _is_given(options, option) and not any(_is_given(options, one) for one in needed):
            parser.error(f"{option} needs {' or '.join(needed)}")
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _is_given(options: argparse.Namespace, option: str) -> bool:
    """Whether the command line has this option."""
    value = getattr(options, option.removeprefix("--").replace("-", "_"))
    return value is not None and value is not False and value != []


def _refuse_conflicts(parser: Parser, options: argparse.Namespace) -> None:
    """Ends the program for options that exclude each other."""
    if options.equal_rate and options.bpp:
        parser.error("--equal-rate and --bpp exclude each other")
    if options.bpp and not 0 < options.bpp[0] < options.bpp[1]:
        parser.error("--bpp needs a lower and a higher rate, both positive")
    if options.effort and options.rdo:
        parser.error("--effort stands for --rdo and for more: give one of them")
    if options.shard not in (None, WHOLE) and options.anchors:
        parser.error("--shard is for models: settings of anchors follow from rates of all images")
    if options.merge and (options.model or options.anchors):
        parser.error("--merge joins the shards in --results, and measures nothing")
    if options.coder and options.estimate and not (options.files or options.report):
        parser.error("--estimate writes no files, so --coder needs --files or --report beside it")


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
        "--quality", nargs="+", type=float, metavar="Q",
        help="one or more qualities, 0 to 100, of variable-rate models (default: 50)",
    )  # fmt: skip
    group.add_argument(
        "--init", "--mask", nargs="+", choices=initial_masks.INITS,
        help="which level codes which block, or where the search for it starts",
    )  # fmt: skip
    group.add_argument(
        "--rdo", nargs="+", type=int, choices=range(encode_options.MAX_PASSES + 1),
        help="passes of a search for the partition that costs least (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--effort", nargs="+", type=int, choices=range(len(effort.EFFORTS)), default=[],
        help="levels of effort, as of rdonet compress, in place of passes",
    )  # fmt: skip
    group.add_argument("--join", metavar="NAME", help="fixed-rate models are points of one curve")
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
        "--shard", metavar="I/N", type=argument_types.shard,
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
    group.add_argument("--batch-size", type=int, help="of the estimate")
    group.add_argument("--coder", choices=range_coder.CODERS, help="range coder of files")


def _add_outcomes(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--per-image", action="store_true", help="show every image's results")
    group.add_argument(
        "-o",
        "--out",
        "--output",
        type=urls.parsed,
        help="JSON file of the curves, in CompressAI's schema, written after each result; or a URL",
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
        "--report-images", "--report-pictures", dest="report_images", type=int, metavar="N",
        help="how many images the page shows (default: 4)",
    )  # fmt: skip
    group.add_argument("--force", action="store_true", help="replace files that exist")
