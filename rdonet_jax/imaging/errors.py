"""The error of this package, apart from the modules that raise it."""


class ImageError(ValueError):
    """An image file cannot be read or written. The message is one sentence that names the file."""
