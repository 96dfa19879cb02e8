"""The command `rdonet`: compress, decompress, info, models.

What a user may get wrong ends in one line, `rdonet: FILE: cause`, and exit code 1. Imports of JAX,
and of the rooms that need it, stand inside the functions: help and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdonet_jax.console import (
    CommandError,
    coding,
    explained,
    failed,
    quiet_libraries,
    remember_compilations,
    say,
)

if TYPE_CHECKING:
    from rdonet_jax.bitstream import Header
    from rdonet_jax.partition import Partition
    from rdonet_jax.rdo import Searched
    from rdonet_jax.zoo import Model

DISTRIBUTION = "rdonet-jax"
DEFAULT_MODEL = "standard"
COMPRESSED_SUFFIX = ".rdo"
PICTURE_SUFFIX = ".png"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 for errors, 2 for wrong usage."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    remember_compilations()
    try:
        with quiet_libraries():
            options.run(options)
    except CommandError as error:
        return failed(str(error))
    except OSError as error:
        return failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        failed("interrupted")
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rdonet",
        description="Learned image compression with a coding tree.",
        epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    compress = _command(commands, "compress", _compress, "compress a picture")
    compress.add_argument(
        "input", metavar="IN", type=_name, help="picture: PNG, JPEG, WebP, AVIF, TIFF, ..."
    )
    compress.add_argument(
        "output", metavar="OUT", nargs="?", type=_name, help=f"default: IN{COMPRESSED_SUFFIX}"
    )
    compress.add_argument(
        "--model", metavar="NAME", type=_name, default=DEFAULT_MODEL,
        help="bundled model or weights file (default: %(default)s)",
    )  # fmt: skip
    compress.add_argument(
        "--quality", metavar="Q", type=_quality,
        help="0 (smallest file) to 100 (best picture), default 50; fractions count",
    )  # fmt: skip
    compress.add_argument(
        "--rdo", metavar="N", type=int, choices=(0, 1, 2), default=0,
        help="passes of a search for the partition that costs least: 0 (default), 1 or 2",
    )  # fmt: skip
    compress.add_argument(
        "--init", "--mask", metavar="INIT", type=_name, default="variance",
        help="which level codes which block, or where the search for it starts: variance "
        "(default), uniform (what suits each block in uniform partitions, by three codings), "
        "static or uniform-16, uniform-32, uniform-64, or a file, an 8-bit picture or .npy with "
        "the level (0, 1, 2 = 16, 32, 64 pixels) of every 16x16 pixels",
    )  # fmt: skip
    compress.add_argument(
        "--coder", choices=("constriction", "tfc"), default="constriction",
        help="range coder; tfc is TensorFlow Compression's (default: %(default)s)",
    )  # fmt: skip
    compress.add_argument(
        "--strip", action="store_true",
        help="drop the colour profile, converting to sRGB, and the EXIF data",
    )  # fmt: skip
    _add_output_options(compress)

    decompress = _command(commands, "decompress", _decompress, "restore a picture")
    decompress.add_argument("input", metavar="IN", type=_name, help="compressed file")
    decompress.add_argument(
        "output", metavar="OUT", nargs="?", type=_name,
        help=f"picture, in the format of its suffix; default: IN{PICTURE_SUFFIX}",
    )  # fmt: skip
    decompress.add_argument(
        "--model", metavar="PATH", type=_name,
        help="weights file (default: the bundled model that the file names)",
    )  # fmt: skip
    decompress.add_argument(
        "--max-pixels", metavar="N", type=_count,
        help="refuse files that claim more pixels than this (default: 134217728)",
    )  # fmt: skip
    decompress.add_argument(
        "--background", metavar="COLOUR", type=_colour,
        help="flatten a picture with transparency on this colour: white, #ff8000, ...",
    )  # fmt: skip
    _add_output_options(decompress)

    info = _command(commands, "info", _info, "describe a compressed file; needs no weights")
    info.add_argument("input", metavar="FILE", type=_name, help="compressed file")

    _command(commands, "models", _models, "list the bundled models")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="overwrite OUT if it exists")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _name(text: str) -> str:
    """An argument that names something."""
    if not text:
        raise argparse.ArgumentTypeError("a name must not be empty")
    return text


def _quality(text: str) -> float:
    """An argument that is a quality."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 100")
    return value


def _count(text: str) -> int:
    """An argument that is a number of pixels."""
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


def _compress(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    source, target = options.input, options.output
    if target is None:
        target = source + COMPRESSED_SUFFIX
    from rdonet_jax import images, picture_reader

    with explained(images.ImageError):
        _check_paths(source, target)
        if Path(target).suffix.lower() in images.WRITABLE_FORMATS:
            raise CommandError(f"{target}: is the name of a picture, not of a compressed file")
        images.check_target(target, options.force)
        picture = picture_reader.load(source, options.strip)

    from rdonet_jax import codec, partition, rdo

    model = _load_model(options.model)
    plan = rdo.Plan(_init(picture.size, options.init), options.rdo)
    with coding(source, rdo.steps(plan), options.quiet) as report:
        with explained(codec.EncodeError, about=source):
            found = rdo.encode(model, picture, plan, options.quality, options.coder, report)
        data = found.encoded.data
    with explained(images.ImageError):
        images.write_bytes(target, data, options.force)
    if not options.quiet:
        height, width = picture.size
        shares = partition.block_shares(found.partition, height, width)
        strides = "/".join(map(str, partition.STRIDES))
        say(
            f"{target}: {len(data)} bytes, {8 * len(data) / (height * width):.3f} bpp, "
            f"levels {strides}: {' / '.join(f'{share:.0%}' for share in shares)}, "
            f"{time.perf_counter() - started:.1f} s"
        )
        if found.searched:
            say(_search_words(found.searched))


def _search_words(searched: Searched) -> str:
    """What a search has done."""
    gain = 1 - searched.after / searched.before
    ended = ", interrupted: the best so far is written" if searched.interrupted else ""
    return (
        f"search: {searched.effort.codings} codings in {searched.effort.calls} calls, "
        f"J {searched.before:.4f} to {searched.after:.4f} (-{gain:.1%}){ended}"
    )


def _decompress(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    source, target = options.input, options.output
    if target is None:
        target = source + PICTURE_SUFFIX
    _check_paths(source, target)
    data = Path(source).read_bytes()

    from rdonet_jax import bitstream, content, images, picture_writer

    limit = bitstream.MAX_PIXELS if options.max_pixels is None else options.max_pixels
    with explained(bitstream.FormatError, about=source):
        header, sections = bitstream.parse(data, limit)
    alpha = bool(sections.alpha) and options.background is None
    with explained(images.ImageError):
        picture_writer.check(target, options.force, (header.height, header.width), alpha)

    from rdonet_jax import codec

    model = _load_model(options.model or _bundled_weights(source, header))
    with (
        explained(bitstream.FormatError, about=source),
        coding(source, codec.DECODING_STEPS, options.quiet) as report,
    ):
        picture = codec.decode(model, data, report, limit).content
    if options.background is not None:
        picture = content.flattened(picture, options.background)
    with explained(images.ImageError):
        notes = picture_writer.save(target, picture, options.force)
    if not options.quiet:
        seconds = f"{time.perf_counter() - started:.1f} s"
        size = f"{header.width}x{header.height} pixels"
        say(f"{target}: {', '.join([size, *notes, seconds])}")


def _info(options: argparse.Namespace) -> None:
    source = options.input
    data = Path(source).read_bytes()

    from rdonet_jax import bitstream, descriptions, zoo

    with explained(bitstream.FormatError, about=source), explained(zoo.ZooError):
        lines = descriptions.of_file(data)
    say("\n".join([f"{source}: {lines[0]}", *lines[1:]]))


def _models(_: argparse.Namespace) -> None:
    from rdonet_jax import descriptions, zoo

    with explained(zoo.ZooError):
        names = zoo.bundled()
    lines: list[str] = []
    for name in names:
        title = f"{name} (default)" if name == DEFAULT_MODEL else name
        first, *rest = descriptions.of_model(_load_model(name))
        lines += [f"{title}: {first}", *rest]
    say("\n".join(lines) or "no models are bundled with this installation")


def _load_model(name: str) -> Model:
    """The model of a bundled name or a weights file, on the device that JAX is to use."""
    import jax

    from rdonet_jax import zoo

    try:
        jax.default_backend()
    except RuntimeError as error:  # a platform that is not there
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise CommandError(f"JAX_PLATFORMS={asked}: {error}") from error
    with explained(zoo.ZooError):
        return zoo.load(name)


def _bundled_weights(source: str, header: Header) -> str:
    """The path of the bundled weights that the file `source` was written with."""
    from rdonet_jax import zoo

    with explained(zoo.ZooError):
        path = zoo.find(header.weights)
    if path is None:
        raise CommandError(
            f"{source}: needs the weights {header.weights.hex()}, which are not bundled; "
            "give their file with --model"
        )
    return str(path)


def _init(size: tuple[int, int], init: str) -> str | Partition:
    """A start by its name, or the partition in a mask file, for a picture of (height, width)."""
    from rdonet_jax import images, partition, rdo

    if init in rdo.INITS:
        return init
    if not os.path.exists(init):
        raise CommandError(f"{init}: is neither a mask file nor one of {', '.join(rdo.INITS)}")
    with explained(images.ImageError):
        levels = images.load_mask(init)
    height, width = size
    expected = tuple(4 * blocks for blocks in partition.grid_of(height, width))
    if levels.shape != expected:
        raise CommandError(
            f"{init}: has {levels.shape[0]} rows of {levels.shape[1]} levels; a picture of "
            f"{width}x{height} pixels needs {expected[0]} rows of {expected[1]}, one level per "
            "16x16 pixels"
        )
    with explained(partition.PartitionError, about=init):
        return partition.from_level_map(levels)


def _check_paths(source: str, target: str) -> None:
    """Refuses an input that is not there and an output that is the input."""
    os.stat(source)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise CommandError(f"{target}: is the input, and must not become the output")
