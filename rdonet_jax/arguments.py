"""The arguments of the command `rdonet`: what there is to say, and whether it makes sense.

Knows no other room but for names, so that help and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rdonet_jax.commands import COMPRESSED_SUFFIX, DEFAULT_MODEL, MOST_BYTES, PICTURE_SUFFIX

DISTRIBUTION = "rdonet-jax"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line, `command` among them. Ends the process on wrong usage."""
    if arguments is None:
        arguments = sys.argv[1:]
    parser, commands = _parser()
    if not arguments or arguments[0] not in commands:
        return parser.parse_args(arguments)  # --help, --version or an error
    command = commands[arguments[0]]
    # Names may stand before, between and behind the options.
    options = command.parse_intermixed_args(arguments[1:])
    options.check(options)
    return options


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the commands by their names."""
    parser = argparse.ArgumentParser(
        prog="rdonet",
        description="Learned image compression with a coding tree.",
        epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_compress(commands)
    _add_decompress(commands)
    info = _command(commands, "info", "describe compressed files; needs no weights")
    info.add_argument("files", metavar="FILE", nargs="+", type=_name, help="compressed file")
    info.add_argument("--json", action="store_true", help="print a line of JSON per file")
    _command(commands, "models", "list the bundled models")
    return parser, commands.choices


def _add_compress(commands: Any) -> None:
    parser = _command(
        commands, "compress", "compress pictures",
        "[options] IN [OUT]", "[options] IN ... --out-dir FOLDER",
    )  # fmt: skip
    _add_files(
        parser,
        "picture: PNG, JPEG, WebP, AVIF, TIFF, ...; with --out-dir, any number of them, and "
        "folders whose pictures are meant",
        f"compressed file; default: IN{COMPRESSED_SUFFIX}",
    )
    goal = parser.add_argument_group("how small, how good; default: quality 50")
    goal = goal.add_mutually_exclusive_group()
    goal.add_argument(
        "--quality", metavar="Q", type=_quality,
        help="0 (smallest file) to 100 (best picture); fractions count",
    )  # fmt: skip
    goal.add_argument(
        "--target-bpp", metavar="BPP", type=_positive,
        help="the best picture in so many bits per pixel",
    )  # fmt: skip
    goal.add_argument(
        "--target-size", metavar="BYTES", type=_bytes,
        help="the best picture in so many bytes; 40k and 1.5M are understood",
    )  # fmt: skip
    goal.add_argument(
        "--target-psnr", metavar="DB", type=_positive, help="the smallest file of this PSNR"
    )
    coding = parser.add_argument_group("coding")
    coding.add_argument(
        "--model", metavar="NAME", type=_name, default=DEFAULT_MODEL,
        help="bundled model or weights file (default: %(default)s)",
    )  # fmt: skip
    coding.add_argument(
        "--rdo", metavar="N", type=int, choices=(0, 1, 2), default=0,
        help="passes of a search for the partition that costs least: 0 (default), 1 or 2",
    )  # fmt: skip
    coding.add_argument(
        "--init", "--mask", metavar="INIT", type=_name, default="variance",
        help="which level codes which block, or where the search for it starts: variance "
        "(default), uniform (what suits each block in uniform partitions, by three codings), "
        "static or uniform-16, uniform-32, uniform-64, or a file, an 8-bit picture or .npy with "
        "the level (0, 1, 2 = 16, 32, 64 pixels) of every 16x16 pixels",
    )  # fmt: skip
    coding.add_argument(
        "--coder", choices=("constriction", "tfc"), default="constriction",
        help="range coder; tfc is TensorFlow Compression's (default: %(default)s)",
    )  # fmt: skip
    coding.add_argument(
        "--strip", action="store_true",
        help="drop the colour profile, converting to sRGB, and the EXIF data",
    )  # fmt: skip
    coding.add_argument(
        "--first-frame", action="store_true",
        help="take the first frame of an animation or page of a document, and leave the others out",
    )  # fmt: skip
    coding.add_argument(
        "--lossless-check", action="store_true",
        help="decode what was written, and compare it with what was encoded",
    )  # fmt: skip
    _add_output_options(parser)


def _add_decompress(commands: Any) -> None:
    parser = _command(
        commands, "decompress", "restore pictures",
        "[options] IN [OUT]", "[options] IN ... --out-dir FOLDER",
    )  # fmt: skip
    _add_files(
        parser,
        "compressed file; with --out-dir, any number of them, and folders whose "
        f"{COMPRESSED_SUFFIX} files are meant",
        f"picture, in the format of its suffix; default: IN{PICTURE_SUFFIX}",
    )
    parser.add_argument(
        "--suffix", metavar="SUFFIX", type=_suffix,
        help=f"format of pictures in --out-dir (default: {PICTURE_SUFFIX})",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="PATH", type=_name,
        help="weights file (default: the bundled model that the file names)",
    )  # fmt: skip
    parser.add_argument(
        "--max-pixels", metavar="N", type=_count,
        help="refuse files that claim more pixels than this (default: 134217728)",
    )  # fmt: skip
    parser.add_argument(
        "--background", metavar="COLOUR", type=_colour,
        help="flatten a picture with transparency on this colour: white, #ff8000, ...",
    )  # fmt: skip
    _add_output_options(parser)


def _command(
    commands: Any,
    name: str,
    summary: str,
    *usages: str,
) -> argparse.ArgumentParser:
    usage = "\n       ".join(f"rdonet {name} {words}" for words in usages) or None
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        usage=usage,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name, check=lambda options: None)
    return parser


def _add_files(parser: argparse.ArgumentParser, source: str, target: str) -> None:
    """The files of a command that makes one of another, or many of many."""
    parser.add_argument("files", metavar="IN", nargs="*", type=_name, help=source)
    # Only for the help: as far as argparse is concerned, OUT is the second file.
    parser.add_argument("out", metavar="OUT", nargs="?", help=target)
    many = parser.add_argument_group("many files")
    many.add_argument(
        "--out-dir", metavar="FOLDER", type=_name,
        help="where the results go; those that exist are left alone without --force",
    )  # fmt: skip
    many.add_argument(
        "--list", metavar="FILE", type=_name,
        help="a text file with the name of one more IN per line; - is standard input",
    )  # fmt: skip
    many.add_argument(
        "-j", "--jobs", metavar="N", type=_count, default=1,
        help="so many files at a time (default: %(default)s)",
    )  # fmt: skip

    def check(options: argparse.Namespace) -> None:
        if options.out_dir is None and not 1 <= len(options.files) <= 2:
            parser.error("one IN and at most one OUT, or any number of IN with --out-dir")
        if options.out_dir is None and (options.list or options.jobs != 1):
            parser.error("--list and --jobs go with --out-dir")
        if options.out_dir is None and getattr(options, "suffix", None):
            parser.error("--suffix goes with --out-dir; OUT has a suffix of its own")
        if options.out_dir is not None and not (options.files or options.list):
            parser.error("the following arguments are required: IN")

    parser.set_defaults(check=check)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--force", action="store_true", help="overwrite what exists")
    say = output.add_mutually_exclusive_group()
    say.add_argument("--quiet", action="store_true", help="print nothing but errors")
    say.add_argument("-v", "--verbose", action="store_true", help="say more: times, every file")
    say.add_argument("--json", action="store_true", help="print a line of JSON per file")


def _name(text: str) -> str:
    """An argument that names something."""
    if not text:
        raise argparse.ArgumentTypeError("a name must not be empty")
    return text


def _suffix(text: str) -> str:
    """An argument that is a suffix, with or without its dot."""
    return "." + _name(text.removeprefix(".")).lower()


def _quality(text: str) -> float:
    """An argument that is a quality."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 100")
    return value


def _positive(text: str) -> float:
    """An argument that is a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


def _bytes(text: str) -> int:
    """An argument that is a number of bytes, perhaps in thousands or millions."""
    text = text.removesuffix("B")
    unit = {"k": 1e3, "K": 1e3, "M": 1e6}.get(text[-1:], 1)
    return int(min(_positive(text if unit == 1 else text[:-1]) * unit, MOST_BYTES)) or 1


def _count(text: str) -> int:
    """An argument that counts something."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def _colour(text: str) -> tuple[int, int, int]:
    """An argument that is a colour, as 8-bit RGB."""
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)
    except ValueError as error:  # of four numbers too
        raise argparse.ArgumentTypeError(f"{text!r} is no opaque colour") from error
    return red, green, blue


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        try:
            version = metadata.version(DISTRIBUTION)
        except metadata.PackageNotFoundError:
            version = "(source checkout)"
        print(f"{parser.prog} {version}")
        parser.exit()
