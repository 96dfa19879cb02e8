"""What stands for an image that is no file of its own."""

from __future__ import annotations

import abc
from collections.abc import Hashable
from pathlib import Path

from PIL import Image

from rdonet_jax.imaging import srgb


class PackedImage(abc.ABC):
    """An image file within something larger, in place of its path. Safe for use by threads."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Its path below what it is in."""

    @abc.abstractmethod
    def resolve(self) -> Hashable:
        """What is the same for the same image, however it was found."""

    @abc.abstractmethod
    def absolute(self) -> Path:
        """The path that the image would have as a file."""

    @abc.abstractmethod
    def content(self) -> bytes:
        """The image file. Raises ImageError, and `AccessError` if it cannot be reached."""

    def inspect(self) -> tuple[int, int]:
        """Width and height, upright, as `srgb.inspect` gives them. Raises ImageError."""
        return srgb.inspect_content(self.content(), str(self))

    def open(self) -> Image.Image:
        """The decoded image in mode RGB. Raises ImageError."""
        return srgb.read_content(self.content(), str(self))
