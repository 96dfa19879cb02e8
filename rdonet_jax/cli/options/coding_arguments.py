"""The options of `rdonet compress` and `rdonet decompress`."""

from __future__ import annotations

import argparse
import functools
from typing import Any

from rdonet_jax.cli.options import argument_types as types
from rdonet_jax.cli.options.command_parser import (
    STANDARD_STREAM,
    add_command,
    add_engine_option,
    add_import_option,
    add_reading_options,
)
from rdonet_jax.core.defaults import (
    COMPRESSED_SUFFIX,
    DEFAULT_CODER,
    DEFAULT_MODEL,
    DEFAULT_ROI_GAIN,
    IMAGE_SUFFIX,
)
from rdonet_jax.core.shard import WHOLE


def add_compress(commands: Any) -> None:
    parser = add_command(
        commands, "compress", "compress images",
        "[options] IN [OUT]", "[options] IN ... --out-dir FOLDER",
    )  # fmt: skip
    _add_files(
        parser,
        "image: PNG, JPEG, WebP, AVIF, TIFF, ...; with --out-dir, any number of them, and "
        "folders whose images are meant, also at URLs",
        f"compressed file, - for standard output; default: IN{COMPRESSED_SUFFIX}",
    )
    target = parser.add_argument_group("how small, how good; default: quality 50")
    target = target.add_mutually_exclusive_group()
    target.add_argument(
        "-q", "--quality", metavar="Q", type=types.quality,
        help="0 (smallest file) to 100 (best image); fractions count",
    )  # fmt: skip
    target.add_argument(
        "--target-bpp", metavar="BPP", type=types.positive_number,
        help="the best image in so many bits per pixel",
    )  # fmt: skip
    target.add_argument(
        "--target-size", metavar="BYTES", type=types.byte_count,
        help="the best image in so many bytes; 40k, 40kB and 1.5M count in thousands, 40KiB and "
        "1.5MiB in 1024s",
    )  # fmt: skip
    target.add_argument(
        "--target-psnr",
        metavar="DB",
        type=types.positive_number,
        help="the smallest file of this PSNR",
    )
    target.add_argument(
        "--target-ms-ssim", metavar="VALUE", type=types.similarity,
        help="the smallest file of this MS-SSIM, below 1",
    )  # fmt: skip
    target.add_argument(
        "--target-ssimulacra2", metavar="SCORE", type=types.score,
        help="the smallest file of this SSIMULACRA2, at most 100; needs the package ssimulacra2",
    )  # fmt: skip
    target.add_argument(
        "--target-butteraugli", metavar="DISTANCE", type=types.positive_number,
        help="the smallest file of this Butteraugli distance or less; needs the program "
        "butteraugli_main",
    )  # fmt: skip
    coding = parser.add_argument_group("coding")
    coding.add_argument(
        "--model", metavar="NAME", type=types.name, default=DEFAULT_MODEL,
        help="bundled model or weights file (default: %(default)s)",
    )  # fmt: skip
    coding.add_argument(
        "-e", "--effort", metavar="N", type=int, choices=range(10),
        help="time for smaller files, 0 (default, no search) to 9: 1 a quick search for the "
        "partition, 3 a pass of --rdo, 5 two passes, 7 also 30 iterations of --refine, 9 100 of "
        "them; the others lie between",
    )  # fmt: skip
    coding.add_argument(
        "--rdo", metavar="N", type=int, choices=(0, 1, 2),
        help="passes of a search for the partition that costs least: 0 (default), 1 or 2",
    )  # fmt: skip
    coding.add_argument(
        "--refine", metavar="N", type=types.iterations,
        help="iterations of a gradient descent on the latents, for smaller files of portable "
        "models: 0 (default), 10, 30, 100, ...",
    )  # fmt: skip
    coding.add_argument(
        "--init", "--mask", metavar="INIT", type=types.name, default="variance",
        help="which level codes which block, or where the search for it starts: variance "
        "(default), uniform (what suits each block in uniform partitions, by three evaluations), "
        "static or uniform-16, uniform-32, uniform-64, or a file, an 8-bit image or .npy with "
        "the level (0, 1, 2 = 16, 32, 64 pixels) of every 16x16 pixels",
    )  # fmt: skip
    coding.add_argument(
        "--roi", metavar="FILE", type=types.name,
        help="regions that matter more or less: an 8-bit gray image or .npy of any size that "
        "scales to the image; 128 is the quality as asked, brighter is better, darker is worse, by "
        "a point of quality for 2 gray levels",
    )  # fmt: skip
    coding.add_argument(
        "--roi-box", metavar="X,Y,W,H[:GAIN]", type=types.roi_box, action="append",
        help="a rectangle of pixels that is better by GAIN points of quality (default: "
        f"{DEFAULT_ROI_GAIN:g}), or worse if that is negative; may be given several times",
    )  # fmt: skip
    coding.add_argument(
        "--coder", choices=("constriction", "tfc"), default=DEFAULT_CODER,
        help="range coder; tfc is TensorFlow Compression's (default: %(default)s)",
    )  # fmt: skip
    add_engine_option(coding)
    add_import_option(coding)
    coding.add_argument(
        "--strip", action="store_true",
        help="drop all metadata, and convert the colors to sRGB",
    )  # fmt: skip
    coding.add_argument(
        "--first-frame", action="store_true",
        help="take the first frame of an animation or page of a document, and leave the others out",
    )  # fmt: skip
    coding.add_argument(
        "--lossless-check", action="store_true",
        help="decode the result before it is written, and compare it with what was encoded",
    )  # fmt: skip
    _add_output_options(parser)
    checked_files = parser.get_default("check")

    def check(options: argparse.Namespace) -> argparse.Namespace:
        checked = checked_files(options)
        if options.effort is not None and (options.rdo, options.refine) != (None, None):
            parser.error("--effort stands for --rdo and --refine: give it, or those")
        return checked

    parser.set_defaults(check=check)


def add_decompress(commands: Any) -> None:
    parser = add_command(
        commands, "decompress", "restore images",
        "[options] IN [OUT]", "[options] IN ... --out-dir FOLDER",
    )  # fmt: skip
    _add_files(
        parser,
        "compressed file; with --out-dir, any number of them, and folders whose "
        f"{COMPRESSED_SUFFIX} files are meant, also at URLs",
        "image, in the format of its suffix, - for standard output; default: IN with the suffix of "
        f"--format, IN{IMAGE_SUFFIX}",
    )
    parser.add_argument(
        "--format", "--suffix", metavar="SUFFIX", type=types.suffix, dest="suffix",
        help="format of a result that has no name, or goes to --out-dir or standard output, by its "
        f"suffix: png, webp, ... (default: {IMAGE_SUFFIX.removeprefix('.')})",
    )  # fmt: skip
    add_reading_options(parser)
    add_engine_option(parser)
    parser.add_argument(
        "--background", metavar="COLOR", type=types.color,
        help="flatten an image with transparency on this color: white, #ff8000, ...",
    )  # fmt: skip
    _add_output_options(parser)


def _add_files(parser: argparse.ArgumentParser, source: str, target: str) -> None:
    """The files of a command that makes one of another, or many of many."""
    parser.add_argument("files", metavar="IN", nargs="*", type=types.name, help=source)
    # Only for the help: as far as argparse is concerned, OUT is the second file.
    parser.add_argument("out", metavar="OUT", nargs="?", help=target)
    parser.add_argument("-o", "--output", metavar="OUT", type=types.name, help="the same as OUT")
    many = parser.add_argument_group("many files")
    many.add_argument(
        "--out-dir", metavar="FOLDER", type=types.name,
        help="where the results go, also a URL; those that exist are left alone without --force",
    )  # fmt: skip
    many.add_argument(
        "--list", metavar="FILE", type=types.name,
        help="a text file with the name of one more IN per line; - is standard input; results keep "
        "their folders below the common folder of all names in it",
    )  # fmt: skip
    many.add_argument(
        "-0", "--null", action="store_true",
        help="names in --list end with NUL instead of a line, as those of find -print0; "
        "without this too where the list holds a NUL",
    )  # fmt: skip
    many.add_argument(
        "-j", "--jobs", metavar="N", type=types.positive_integer,
        help="so many files at a time (default: 1); with --ray, so many workers at most",
    )  # fmt: skip
    many.add_argument(
        "--ray", metavar="ADDRESS", type=types.name,
        help="do it on a Ray cluster: auto is the one of this machine, local one that is started "
        "for this command; needs pip install 'rdonet-jax[ray]'",
    )  # fmt: skip
    many.add_argument(
        "--shard", metavar="I/N", type=types.shard, default=WHOLE,
        help="every N-th of the files alone, from the I-th on: N processes or machines with 1/N to "
        "N/N do all",
    )  # fmt: skip

    parser.set_defaults(check=functools.partial(_checked_files, parser))


def _checked_files(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> argparse.Namespace:
    """The options, with --output among the files, and with the default of --jobs.

    Ends the process where the files and the options about them contradict each other.
    """
    files, jobs = options.files, options.jobs
    if options.output is not None:
        if options.out_dir is not None:
            parser.error("--output and --out-dir exclude each other")
        if len(files) > 1:
            parser.error("OUT is given twice, as a name and with --output")
        files = [*files, options.output]
    if options.preserve and STANDARD_STREAM in files:
        parser.error("--preserve goes with files, not with -")
    if options.out_dir is not None and STANDARD_STREAM in files:
        parser.error("- goes without --out-dir, since it has no name that a result could have")
    if options.null and not options.list:
        parser.error("--null goes with --list")
    if options.output is not None and len(files) == 1:
        parser.error("the following arguments are required: IN")
    if options.out_dir is None and not 1 <= len(files) <= 2:
        parser.error("one IN and at most one OUT, or any number of IN with --out-dir")
    if options.ray is None and jobs is None:
        jobs = 1
    alone = (options.list, options.ray, jobs, options.shard) == (None, None, 1, WHOLE)
    if options.out_dir is None and not alone:
        parser.error("--list, --jobs, --ray and --shard go with --out-dir")
    is_named = options.out_dir is None and files[1:] not in ([], [STANDARD_STREAM])
    if is_named and getattr(options, "suffix", None):
        parser.error("--format goes without OUT, which has a suffix of its own")
    if options.out_dir is not None and not (files or options.list):
        parser.error("the following arguments are required: IN")
    return argparse.Namespace(**{**vars(options), "files": files, "jobs": jobs})


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("-f", "--force", action="store_true", help="overwrite what exists")
    output.add_argument(
        "--preserve", action="store_true",
        help="give results the times and permissions of what they are made of",
    )  # fmt: skip
    verbosity = output.add_mutually_exclusive_group()
    verbosity.add_argument("--quiet", action="store_true", help="print nothing but errors")
    verbosity.add_argument(
        "-v", "--verbose", action="store_true", help="say more: times, every file"
    )
    verbosity.add_argument("--json", action="store_true", help="print a line of JSON per file")
