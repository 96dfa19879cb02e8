"""What is raised where no file can be written."""

from __future__ import annotations


class EncodeError(ValueError):
    """An image, or what the network makes of it, that no file can hold."""
