"""The arguments of the command `rdonet`: what there is to say, and whether it makes sense.

Knows no other room but for names, so that help and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rdonet_jax.cli.commands import COMPRESSED_SUFFIX, DEFAULT_MODEL, MOST_BYTES, PICTURE_SUFFIX

DISTRIBUTION = "rdonet-jax"

STANDARD_STREAM = "-"
"""As a name, standard input or output."""

_PLAIN = "\0"
"""Stands before names that look like options and are none; no name on a command line holds it."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line, `command` among them. Ends the process on wrong usage."""
    if arguments is None:
        arguments = sys.argv[1:]
    parser, commands = _parser()
    if not arguments or arguments[0] not in commands:
        return parser.parse_args(arguments)  # --help, --version or an error
    command = commands[arguments[0]]
    # Names may stand before, between and behind the options.
    options = command.parse_intermixed_args(_without_end_of_options(arguments[1:]))
    for option, value in vars(options).items():
        setattr(options, option, _unmarked(value))
    options.check(options)
    return options


def _without_end_of_options(arguments: Sequence[str]) -> list[str]:
    """Arguments without the first `--`; those behind it are marked where they look like options.

    Versions of Python differ in what `parse_intermixed_args` makes of `--`, so it gets to see none.
    """
    if "--" not in arguments:
        return list(arguments)
    end = arguments.index("--")
    names = arguments[end + 1 :]
    return [
        *arguments[:end],
        *(_PLAIN + name if name[:1] == "-" and name != STANDARD_STREAM else name for name in names),
    ]


def _unmarked(value: Any) -> Any:
    """The value of an option, or of names, without marks."""
    if isinstance(value, list):
        return [_unmarked(item) for item in value]
    return value.removeprefix(_PLAIN) if isinstance(value, str) else value


class _Parser(argparse.ArgumentParser):
    """Leaves marks out of what it says."""

    def error(self, message: str) -> NoReturn:
        super().error(message.replace(_PLAIN, "").replace(repr(_PLAIN)[1:-1], ""))


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the commands by their names."""
    parser = _Parser(
        prog="rdonet",
        description="Learned image compression with a coding tree.",
        epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted, 141 nobody reads the "
        "output any more.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_compress(commands)
    _add_decompress(commands)
    info = _command(commands, "info", "describe compressed files; needs no weights")
    info.add_argument(
        "files", metavar="FILE", nargs="+", type=_name,
        help="compressed file; - is standard input",
    )  # fmt: skip
    info.add_argument("--json", action="store_true", help="print a line of JSON per file")
    _command(commands, "models", "list the bundled models")
    _add_compare(commands)
    _add_thumbnail(commands)
    _add_lazy(commands)
    _add_installation(commands)
    return parser, commands.choices


def whole_parser() -> argparse.ArgumentParser:
    """The parser with all its commands, for whatever is made from the help."""
    return _parser()[0]


def _add_compress(commands: Any) -> None:
    parser = _command(
        commands, "compress", "compress images",
        "[options] IN [OUT]", "[options] IN ... --out-dir FOLDER",
    )  # fmt: skip
    _add_files(
        parser,
        "image: PNG, JPEG, WebP, AVIF, TIFF, ...; with --out-dir, any number of them, and "
        "folders whose images are meant",
        f"compressed file, - for standard output; default: IN{COMPRESSED_SUFFIX}",
    )
    goal = parser.add_argument_group("how small, how good; default: quality 50")
    goal = goal.add_mutually_exclusive_group()
    goal.add_argument(
        "--quality", metavar="Q", type=_quality,
        help="0 (smallest file) to 100 (best image); fractions count",
    )  # fmt: skip
    goal.add_argument(
        "--target-bpp", metavar="BPP", type=_positive,
        help="the best image in so many bits per pixel",
    )  # fmt: skip
    goal.add_argument(
        "--target-size", metavar="BYTES", type=_bytes,
        help="the best image in so many bytes; 40k, 40kB and 1.5M count in thousands, 40KiB and "
        "1.5MiB in 1024s",
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
        "static or uniform-16, uniform-32, uniform-64, or a file, an 8-bit image or .npy with "
        "the level (0, 1, 2 = 16, 32, 64 pixels) of every 16x16 pixels",
    )  # fmt: skip
    coding.add_argument(
        "--coder", choices=("constriction", "tfc"), default="constriction",
        help="range coder; tfc is TensorFlow Compression's (default: %(default)s)",
    )  # fmt: skip
    coding.add_argument(
        "--strip", action="store_true",
        help="drop the color profile, converting to sRGB, and the EXIF data",
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
        commands, "decompress", "restore images",
        "[options] IN [OUT]", "[options] IN ... --out-dir FOLDER",
    )  # fmt: skip
    _add_files(
        parser,
        "compressed file; with --out-dir, any number of them, and folders whose "
        f"{COMPRESSED_SUFFIX} files are meant",
        f"image, in the format of its suffix, - for standard output; default: IN{PICTURE_SUFFIX}",
    )
    parser.add_argument(
        "--format", "--suffix", metavar="SUFFIX", type=_suffix, dest="suffix",
        help="format of what goes to --out-dir or standard output, by its suffix: png, webp, ... "
        f"(default: {PICTURE_SUFFIX.removeprefix('.')})",
    )  # fmt: skip
    _add_reading_options(parser)
    parser.add_argument(
        "--background", metavar="COLOUR", type=_colour,
        help="flatten an image with transparency on this color: white, #ff8000, ...",
    )  # fmt: skip
    _add_output_options(parser)


def _add_compare(commands: Any) -> None:
    parser = _command(commands, "compare", "say how much two images differ", "[options] A B")
    for name, dest in (("A", "first"), ("B", "second")):
        parser.add_argument(dest, metavar=name, type=_name, help="image file, compressed or not")
    parser.add_argument(
        "--difference", metavar="OUT", type=_name,
        help="write an image of the difference, made as large as fits",
    )  # fmt: skip
    _add_reading_options(parser)
    parser.add_argument("--force", action="store_true", help="overwrite what exists")
    parser.add_argument("--json", action="store_true", help="print a line of JSON")


def _add_thumbnail(commands: Any) -> None:
    parser = _command(
        commands, "thumbnail", "write a small PNG for a file manager", "[--size N] IN OUT"
    )
    parser.add_argument("source", metavar="IN", type=_name, help="compressed file")
    parser.add_argument("target", metavar="OUT", type=_name, help="PNG; is overwritten")
    parser.add_argument(
        "--size", metavar="N", type=_count, default=256,
        help="pixels of the longer side, at most (default: %(default)s)",
    )  # fmt: skip


def _add_lazy(commands: Any) -> None:
    """The commands of `lazy_commands`, whose own parsers know their options."""
    train = _command(
        commands, "train", "train a model, or export the weights of a run",
        "[options] --data DIR ... --run RUN", "export [options] RUN NAME",
    )  # fmt: skip
    evaluate = _command(
        commands, "eval", "evaluate models and conventional codecs on folders of images",
        "[options] --data DIR ... --model NAME ...", "[options] --results FILE ...",
    )  # fmt: skip
    for parser in (train, evaluate):
        parser.description += f" {parser.prog} --help lists the options."


def _add_installation(commands: Any) -> None:
    """Commands for what surrounds this one on a system."""
    desktop = _command(
        commands, "desktop", "let file managers know compressed files, and show thumbnails"
    )
    desktop.add_argument(
        "--prefix", metavar="FOLDER", type=_name,
        help="where the entries go (default: $XDG_DATA_HOME or ~/.local/share)",
    )  # fmt: skip
    desktop.add_argument("--remove", action="store_true", help="take the entries away again")
    completion = _command(commands, "completion", "print a shell's script for completion")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    _command(commands, "man", "print the manual page")


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
    parser.add_argument("-o", "--output", metavar="OUT", type=_name, help="the same as OUT")
    many = parser.add_argument_group("many files")
    many.add_argument(
        "--out-dir", metavar="FOLDER", type=_name,
        help="where the results go; those that exist are left alone without --force",
    )  # fmt: skip
    many.add_argument(
        "--list", metavar="FILE", type=_name,
        help="a text file with the name of one more IN per line; - is standard input; results keep "
        "their folders below the common folder of all names in it",
    )  # fmt: skip
    many.add_argument(
        "-0", "--null", action="store_true",
        help="names in --list end with NUL instead of a line, as those of find -print0; "
        "without this too where the list holds a NUL",
    )  # fmt: skip
    many.add_argument(
        "-j", "--jobs", metavar="N", type=_count, default=1,
        help="so many files at a time (default: %(default)s)",
    )  # fmt: skip

    def check(options: argparse.Namespace) -> None:
        if options.output is not None:
            if options.out_dir is not None:
                parser.error("--output and --out-dir exclude each other")
            if len(options.files) > 1:
                parser.error("OUT is given twice, as a name and with --output")
            options.files += [options.output]
        if options.preserve and STANDARD_STREAM in options.files:
            parser.error("--preserve goes with files, not with -")
        if options.out_dir is not None and STANDARD_STREAM in options.files:
            parser.error("- goes without --out-dir, since it has no name that a result could have")
        if options.null and not options.list:
            parser.error("--null goes with --list")
        if options.output is not None and len(options.files) == 1:
            parser.error("the following arguments are required: IN")
        if options.out_dir is None and not 1 <= len(options.files) <= 2:
            parser.error("one IN and at most one OUT, or any number of IN with --out-dir")
        if options.out_dir is None and (options.list or options.jobs != 1):
            parser.error("--list and --jobs go with --out-dir")
        to_stream = options.files[-1:] == [STANDARD_STREAM]
        if options.out_dir is None and not to_stream and getattr(options, "suffix", None):
            parser.error(
                "--format goes with --out-dir and standard output; OUT has a suffix of its own"
            )
        if options.out_dir is not None and not (options.files or options.list):
            parser.error("the following arguments are required: IN")

    parser.set_defaults(check=check)


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="PATH", type=_name,
        help="weights file (default: the bundled model that the file names)",
    )  # fmt: skip
    parser.add_argument(
        "--max-pixels", metavar="N", type=_count,
        help="refuse files that claim more pixels than this (default: 134217728)",
    )  # fmt: skip


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--force", action="store_true", help="overwrite what exists")
    output.add_argument(
        "--preserve", action="store_true",
        help="give results the times and permissions of what they are made of",
    )  # fmt: skip
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
    """An argument that is a number of bytes: 40000, 40k, 40 kB, 39KiB, 1.5M, ... in any case."""
    parts = re.fullmatch(r"(.*?)\s*(?:([kmg])(i?))?b?", text, re.IGNORECASE | re.DOTALL)
    number, unit, binary = parts.groups()
    factor = (1024 if binary else 1000) ** " kmg".index((unit or " ").lower())
    try:
        return int(min(_positive(number) * factor, MOST_BYTES)) or 1
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size, such as 40000, 40k or 40KiB"
        ) from error


def _count(text: str) -> int:
    """An argument that counts something."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def _colour(text: str) -> tuple[int, int, int]:
    """An argument that is a color, as 8-bit RGB."""
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)
    except ValueError as error:  # of four numbers too
        raise argparse.ArgumentTypeError(f"{text!r} is no opaque color") from error
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
