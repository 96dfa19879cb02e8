"""Reading compressed files and decoding them, for every command that does so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.cli.commands import models
from rdonet_jax.cli.errors import CommandError, explained
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.progress import StepTimer, progress_bar
from rdonet_jax.core.defaults import DEFAULT_ENGINE, MAX_PIXELS
from rdonet_jax.models.library import ModelLibrary

if TYPE_CHECKING:
    from rdonet_jax.codec.compressed_file import CompressedFile
    from rdonet_jax.imaging.pixel_format import ImageData


def is_compressed(data: bytes) -> bool:
    """Whether a file that begins with these bytes claims to be a compressed one."""
    from rdonet_jax.codec import bitstream

    return data.startswith(bitstream.MAGIC)


def read(source: FilePath, max_pixels: int | None = None) -> CompressedFile:
    """The parsed file. A file of another format is refused without JAX.

    `max_pixels` is how many pixels the file may claim, None for the default. Raises
    `CommandError`, and OSError for a file that cannot be read.
    """
    from rdonet_jax.codec import bitstream, compressed_file

    limit = MAX_PIXELS if max_pixels is None else max_pixels
    with explained(bitstream.FormatError, about=str(source)), open(source, "rb") as file:
        return compressed_file.read(file, limit)


def decode(
    source: FilePath,
    file: CompressedFile,
    library: ModelLibrary,
    model: str | None = None,
    show_progress: bool = False,
    engine: str = DEFAULT_ENGINE,
) -> tuple[ImageData, tuple[tuple[str, float], ...]]:
    """The image in a parsed file, and the steps of decoding it with their seconds.

    `model` names a weights file, in place of the bundled model that the file names. Raises
    `CommandError`.
    """
    from rdonet_jax.codec import bitstream, codec
    from rdonet_jax.codec.engine_choice import EngineError
    from rdonet_jax.rdo import coding

    with (
        explained(bitstream.FormatError, EngineError, about=str(source)),
        models.explained_models(),
        progress_bar(str(source), codec.DECODING_STEPS, not show_progress) as report,
    ):
        timer = StepTimer(report)
        try:
            decoded = coding.decode(file, library, model, timer, engine)
        except coding.UnknownWeightsError as error:
            raise CommandError(f"{source}: {error}; give their file with --model") from error
        return decoded.content, timer.seconds()


def load_image(
    source: FilePath,
    library: ModelLibrary,
    model: str | None = None,
    max_pixels: int | None = None,
) -> tuple[ImageData, int]:
    """The image in a compressed file, and the size of the file in bytes. Raises `CommandError`."""
    file = read(source, max_pixels)
    image, _ = decode(source, file, library, model)
    return image, file.byte_count
