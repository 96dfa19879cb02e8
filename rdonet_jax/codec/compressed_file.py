"""A compressed file after parsing. Each file is parsed once and passed on in this form.

Importing this module loads no JAX, and neither does refusing a file of another format.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from rdonet_jax.codec import bitstream
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.core.defaults import MAX_PIXELS


class CompressedFile(NamedTuple):
    """The contents of a compressed file.

    Attributes:
      byte_count: the size of the whole file in bytes.
      header: what a decoder must know before the first section.
      sections: the coded data and the metadata.
    """

    byte_count: int
    header: Header
    sections: Sections

    @property
    def pixel_count(self) -> int:
        """Height times width of the image."""
        return self.header.height * self.header.width

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * self.byte_count / self.pixel_count


Bytes = bytes | bytearray | memoryview
"""What holds the bytes of a file. Other buffers, such as arrays of uint8, are taken too."""


def parse(data: Bytes, max_pixels: float = MAX_PIXELS) -> CompressedFile:
    """The file of these bytes.

    Raises `FormatError` for bytes that are no valid file, for what is no bytes, and for an image of
    more than `max_pixels` pixels.
    """
    try:
        data = data if isinstance(data, bytes) else bytes(memoryview(data))
    except TypeError as error:
        raise FormatError(f"a file's bytes are needed, not {type(data).__name__}") from error
    header, sections = bitstream.parse(data, max_pixels)
    return CompressedFile(len(data), header, sections)


def read(file: BinaryIO, max_pixels: float = MAX_PIXELS) -> CompressedFile:
    """The file in an open stream. It reads no more than the header asks for. Raises as `parse`."""
    return parse(bitstream.read(file), max_pixels)
