"""The image in a compressed file, for commands that do something else with it than to write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.cli.commands import Models
from rdonet_jax.cli.console import coding, explained

if TYPE_CHECKING:
    from rdonet_jax.imaging.pixel_format import Picture


def is_compressed(data: bytes) -> bool:
    """Whether a file that begins so claims to be a compressed one."""
    from rdonet_jax.codec import bitstream

    return data.startswith(bitstream.MAGIC)


def decoded(
    source: str, data: bytes, models: Models, model: str | None = None, limit: int | None = None
) -> Picture:
    """The image in the bytes of the file `source`.

    `model` names a weights file, in place of the bundled model that the file names; `limit` is the
    most pixels that it may claim. Raises `CommandError`.
    """
    from rdonet_jax.codec import bitstream

    limit = bitstream.MAX_PIXELS if limit is None else limit
    with explained(bitstream.FormatError, about=source):
        header, _ = bitstream.parse(data, limit)

    from rdonet_jax.codec import codec

    network = models.named(model) if model else models.of_file(source, header)
    with (
        explained(bitstream.FormatError, about=source),
        coding(source, codec.DECODING_STEPS, quiet=True) as report,
    ):
        return codec.decode(network, data, report, limit).content
