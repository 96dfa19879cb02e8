"""The error that all modules of this package raise."""


class ImageError(ValueError):
    """An image file cannot be read or written. The message is one sentence that names the file."""


class AccessError(ImageError):
    """A file that cannot be reached at present, which says nothing of the image in it."""


class ExistingFileError(ImageError):
    """A file is there already and is not to be overwritten."""
