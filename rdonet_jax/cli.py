"""The command `rdonet`: compress, decompress, info, models.

What a user may get wrong ends in one line, `rdonet: FILE: cause`, and exit code 1. Imports of JAX,
and of the rooms that need it, stand inside the functions: help and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdonet_jax.console import CommandError, coding, explained, failed, quiet_libraries, say

if TYPE_CHECKING:
    import numpy as np

    from rdonet_jax.bitstream import Header
    from rdonet_jax.partition import Partition
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
        "input", metavar="IN", type=_name, help="picture: PNG, JPEG, WebP, TIFF, BMP, ..."
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
        "--mask", metavar="MASK", type=_name, default="variance",
        help="which level codes which block: variance (default), uniform-16, uniform-32, "
        "uniform-64, or a file, an 8-bit picture or .npy with the level (0, 1, 2 = 16, 32, "
        "64 pixels) of every 16x16 pixels",
    )  # fmt: skip
    compress.add_argument(
        "--coder", choices=("constriction", "tfc"), default="constriction",
        help="range coder; tfc is TensorFlow Compression's (default: %(default)s)",
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
    from rdonet_jax import images

    with explained(images.ImageError):
        _check_paths(source, target)
        if Path(target).suffix.lower() in images.WRITABLE_FORMATS:
            raise CommandError(f"{target}: is the name of a picture, not of a compressed file")
        images.check_target(target, options.force)
        image = images.load(source)

    from rdonet_jax import codec, partition

    model = _load_model(options.model)
    with coding(source, codec.ENCODING_STEPS, options.quiet) as report:
        with explained(codec.EncodeError, about=source):
            p = _partition(model, image, options.mask, options.quality)
            encoded = codec.encode(
                model, image, p, options.quality, options.coder, report, reconstruct=False
            )
        data = encoded.data
    with explained(images.ImageError):
        images.write_bytes(target, data, options.force)
    if not options.quiet:
        height, width = image.shape[:2]
        shares = " / ".join(f"{share:.0%}" for share in partition.block_shares(p, height, width))
        strides = "/".join(map(str, partition.STRIDES))
        say(
            f"{target}: {len(data)} bytes, {8 * len(data) / (height * width):.3f} bpp, "
            f"levels {strides}: {shares}, {time.perf_counter() - started:.1f} s"
        )


def _decompress(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    source, target = options.input, options.output
    if target is None:
        target = source + PICTURE_SUFFIX
    _check_paths(source, target)
    data = Path(source).read_bytes()

    from rdonet_jax import bitstream, images

    limit = bitstream.MAX_PIXELS if options.max_pixels is None else options.max_pixels
    with explained(bitstream.FormatError, about=source):
        header, _ = bitstream.parse(data, limit)
    with explained(images.ImageError):
        images.check_picture_target(target, options.force, (header.height, header.width))

    from rdonet_jax import codec

    model = _load_model(options.model or _bundled_weights(source, header))
    with (
        explained(bitstream.FormatError, about=source),
        coding(source, codec.DECODING_STEPS, options.quiet) as report,
    ):
        picture = codec.decode(model, data, report, limit).picture
    with explained(images.ImageError):
        images.save(target, picture, options.force)
    if not options.quiet:
        seconds = time.perf_counter() - started
        say(f"{target}: {header.width}x{header.height} pixels, {seconds:.1f} s")


def _info(options: argparse.Namespace) -> None:
    source = options.input
    data = Path(source).read_bytes()

    from rdonet_jax import bitstream, coder, partition, tree_coding

    with explained(bitstream.FormatError, about=source):
        header, sections = bitstream.parse(data)
        p = tree_coding.read(header, sections)
    size = header.height, header.width
    pixels = header.height * header.width
    masks = zip(partition.level_masks(p), partition.inside_masks(*size), strict=True)
    blocks = [int((mask & inside).sum()) for mask, inside in masks]
    shares = partition.block_shares(p, *size)
    bound = f"bound to {header.platform}" if header.platform else "decodes everywhere"

    def row(name: str, count: int, *rest: str) -> str:
        return f"{name:<10}{count:>9}{8 * count / pixels:>9.4f}" + "".join(rest)

    lines = [
        f"{source}: {header.width}x{header.height} pixels, {len(data)} bytes, "
        f"{8 * len(data) / pixels:.4f} bpp",
        f"format version {bitstream.VERSION}, range coder {coder.NAMES[header.coder]}",
        f"{_model_words(header)}",
        f"{_quality_words(header)}{bound}",
        f"{'':<10}{'bytes':>9}{'bpp':>9}{'blocks':>9}{'area':>9}",
        row("container", len(data) - sum(map(len, sections))),
        row("partition", len(sections.partition)),
    ]
    for level in (2, 1, 0):
        stride, length = partition.STRIDES[level], len(getattr(sections, f"level{level}"))
        name = f"{stride}x{stride}"
        lines.append(row(name, length, f"{blocks[level]:>9}", f"{shares[level]:>9.1%}"))
    say("\n".join(lines))


def _quality_words(header: Header) -> str:
    """The quality that a file was written with, on the scale of the command line."""
    from rdonet_jax import codec, zoo

    path = zoo.find(header.weights)
    if header.quality is None or path is None:
        return ""
    with explained(zoo.ZooError):
        return f"quality {codec.quality_of(zoo.config_of(path), header.quality):.4g}, "


def _models(_: argparse.Namespace) -> None:
    from rdonet_jax import zoo

    with explained(zoo.ZooError):
        names = zoo.bundled()
    models = [(name, _load_model(name)) for name in names]
    lines = [line for name, model in models for line in _description(name, model)]
    say("\n".join(lines) or "no models are bundled with this installation")


def _description(name: str, model: Model) -> list[str]:
    """What `rdonet models` prints about a model: what it is, and the record of its training."""
    from rdonet_jax.models import families

    default = " (default)" if name == DEFAULT_MODEL else ""
    millions = families.parameter_count(model.params) / 1e6
    lines = [f"{name}{default}: hash {model.digest.hex()}, {millions:.2f} M parameters"]
    training = model.record.get("training")
    if training is None:
        return [*lines, "  its training is not on record"]
    side = training["crop"]
    lines.append(
        f"  trained for {_objective_words(model)}, {model.record['steps_done']} "
        f"steps of {training['batch_size']} crops of {side}x{side} pixels"
    )
    before = (model.record.get("origin") or {}).get("started_from")
    if before:
        lines.append(f"  after {before['steps_done']} steps of the weights that it went on from")
    if validation := model.record.get("validation"):
        lines.append(
            f"  validation: {validation['bpp']:.3f} bpp (estimate), {validation['psnr']:.2f} dB"
        )
    return lines


def _objective_words(model: Model) -> str:
    """The loss that a model was trained for."""
    from rdonet_jax.config import PortableConfig

    training = model.record["training"]
    distortion = _distortion_words(training)
    if isinstance(model.config, PortableConfig):
        low, high = model.config.lmbdas
        return f"bpp + lambda * {distortion} with every lambda from {low:g} to {high:g}"
    return f"bpp + {training['lmbda']:g} * {distortion}"


def _distortion_words(training: Mapping[str, Any]) -> str:
    """The distortion of a training run, see `rdonet_jax.objective`."""
    from rdonet_jax.objective import SIMILARITY_WEIGHT

    if training["metric"] == "both":
        share = training["ms_ssim_share"]
        similarity = f"{share * SIMILARITY_WEIGHT:.0f} * (1 - MS-SSIM)"
        return f"({1 - share:g} * 255^2 * MSE + {similarity})"
    return {"mse": "255^2 * MSE", "ms-ssim": "(1 - MS-SSIM)"}[training["metric"]]


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


def _model_words(header: Header) -> str:
    """What the header says of the model, as words for people."""
    from rdonet_jax import zoo

    with explained(zoo.ZooError):
        path = zoo.find(header.weights)
    if path is None:
        return f"weights {header.weights.hex()}, which are not bundled"
    return f"model {zoo.name_and_hash(path)[0]} (weights {header.weights.hex()}), which is bundled"


def _partition(model: Model, image: np.ndarray, mask: str, quality: float | None) -> Partition:
    """The partition of a kind of mask or of a mask file."""
    from rdonet_jax import codec, images, partition

    if mask in codec.MASKS:
        return codec.choose_partition(model, image, mask, quality)
    if not os.path.exists(mask):
        raise CommandError(f"{mask}: is neither a mask file nor one of {', '.join(codec.MASKS)}")
    with explained(images.ImageError):
        levels = images.load_mask(mask)
    height, width = image.shape[:2]
    expected = tuple(4 * blocks for blocks in partition.grid_of(height, width))
    if levels.shape != expected:
        raise CommandError(
            f"{mask}: has {levels.shape[0]} rows of {levels.shape[1]} levels; a picture of "
            f"{width}x{height} pixels needs {expected[0]} rows of {expected[1]}, one level per "
            "16x16 pixels"
        )
    with explained(partition.PartitionError, about=mask):
        return partition.from_level_map(levels)


def _check_paths(source: str, target: str) -> None:
    """Refuses an input that is not there and an output that is the input."""
    os.stat(source)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise CommandError(f"{target}: is the input, and must not become the output")
