"""An image before encoding: checked, with hidden colors replaced and its metadata packed.

This is done once for an image, however many times it is then encoded: rate control and the search
for a partition encode it again and again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from rdonet_jax.codec import bitstream, memory, side_data
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import partition
from rdonet_jax.core.cached import cached_property
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image in the form in which it is encoded.

    Attributes:
      content: the image. Colors that alpha hides are replaced by a smooth continuation of the
        visible ones, and an alpha channel that is opaque everywhere is removed.
      side_sections: by name, the file's sections for alpha and metadata.
    """

    content: ImageData
    side_sections: Mapping[str, bytes]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.content.size

    @cached_property
    def rgb8(self) -> np.ndarray:
        """The pixels as uint8 [H, W, 3], from which partitions are chosen."""
        return pixel_format.as_rgb8(self.content)

    def psnr(self, decoded: np.ndarray) -> float:
        """PSNR in dB of decoded pixels in the image's own form; infinite for equal ones."""
        return pixel_format.psnr(self.content.pixels, decoded)


def prepare(config: AnyConfig, image: PreparedImage | ImageData | np.ndarray) -> PreparedImage:
    """An image, or its pixels alone, ready for encoding with a model of this configuration.

    A `PreparedImage` is returned as it is. Raises `EncodeError` for an array that is no image, for
    metadata that no file can hold, and for an image larger than a file or the memory can hold.
    """
    if isinstance(image, PreparedImage):
        return image
    try:
        checked = pixel_format.as_image_data(image)
    except pixel_format.PixelFormatError as error:
        raise EncodeError(str(error)) from error
    _require_size(config, *checked.size)
    filled = pixel_format.fill_hidden(checked)
    try:
        return PreparedImage(filled, side_data.pack(filled))
    except side_data.SideDataError as error:
        raise EncodeError(str(error)) from error


def _require_size(config: AnyConfig, height: int, width: int) -> None:
    """Raises `EncodeError` for an image that is too large for a file or for the memory."""
    if max(height, width) > bitstream.MAX_SIDE or height * width > MAX_PIXELS:
        raise EncodeError(
            f"an image of {width}x{height} pixels is too large: no side may be over "
            f"{bitstream.MAX_SIDE}, nor the area over {MAX_PIXELS} pixels"
        )
    if lack := memory.shortage(config, partition.block_grid(height, width)):
        raise EncodeError(f"an image of {width}x{height} pixels is too large: {lack}")
