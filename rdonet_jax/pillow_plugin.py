"""Lets Pillow open and save compressed files, once this module is imported.

    import rdonet_jax.pillow_plugin
    Image.open("photo.rdo").show()
    image.save("photo.rdo", quality=40)

Pillow has no colors of 16 bits, so such files open in 8; gray ones of 16 bits do not lose any.
Images are saved upright, turned as their EXIF data says, or else their XMP. `save` takes `quality`,
`target`, `model`, `rdo_passes`, `init`, `engine`, `refinements`, `effort` and `roi` as
`rdonet_jax.compress` does, and `icc_profile`, `exif`, `xmp` and `dpi` as Pillow's own formats do.
A mask `roi` lies on the image as it is, and is turned with it. A `Partition` is taken for an
upright image alone. What `info` holds and a file cannot is left out with a warning.
Files of other models than the bundled ones open after `rdonet_jax.register_model(PATH)`.
`info` of an opened file holds these, and `cicp` if it has that, which is saved again unless the
profile is another one by then. Ctrl-C while an image is saved leaves an empty file, as with
Pillow's own formats.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile

from rdonet_jax.codec import bitstream, compressed_file, side_data
from rdonet_jax.codec.compressed_file import CompressedFile
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX
from rdonet_jax.core.json_values import short_repr
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pillow_images, pixel_format
from rdonet_jax.imaging.metadata import cicp, exif, resolution, xmp
from rdonet_jax.imaging.metadata.resolution import Resolution

FORMAT = "RDO"
ARGUMENTS = (
    "quality", "target", "model", "rdo_passes", "init", "engine", "refinements", "effort", "roi",
)  # fmt: skip
_BYTES = (bytes, bytearray, memoryview)
_PROFILE = "cicp_profile"
"""In `info`, the profile that came with the code points. With another one they are stale."""


class RDOImageFile(ImageFile.ImageFile):
    """A compressed file; its pixels are decoded when they are first asked for."""

    format = FORMAT
    format_description = "RDONet"

    _compressed: CompressedFile | None = None
    """The file before it is decoded. An image that was copied or unpickled has pixels alone."""

    def _open(self) -> None:
        try:
            file = compressed_file.read(cast(BinaryIO, self.fp))
            fields = side_data.fields(file.sections)
        except bitstream.FormatError as error:
            raise OSError(str(error)) from error
        self._compressed = file
        header, sections = file.header, file.sections
        self._size = header.width, header.height
        if header.gray and header.is_16bit and not sections.alpha:
            self._mode = "I;16"
        else:
            self._mode = ("L" if header.gray else "RGB") + ("A" if sections.alpha else "")
        self.info.update(_info(fields, header.gray))

    def load(self) -> Image.core.PixelAccess | None:
        if self._compressed is not None:
            from rdonet_jax import api

            try:
                samples = pixel_format.samples(api.decode_file(self._compressed))
            except ValueError as error:  # the file, a registered model, or JAX that is not there
                raise OSError(str(error)) from error
            self._compressed = None
            samples = samples if self.mode == "I;16" else pixel_format.to_uint8(samples)
            if self.fp and self._exclusive_fp:  # it was opened by name, for this image alone
                self.fp.close()
            self.fp = io.BytesIO(samples.tobytes())
            # With the mode alone, and not in a tuple, Pillow would map the file that has this name.
            tile: Any = ("raw", (0, 0, *self.size), 0, (self.mode,))
            self.tile = [tile]
        return super().load()


def _info(fields: dict[str, Any], gray: bool) -> dict[str, Any]:
    """The file's metadata by Pillow's names. Code points of colors become a profile too."""
    named, size = fields["cicp"], fields["resolution"]
    icc = fields["icc"] or (cicp.as_icc(named, gray) if named else b"")
    info = {
        "icc_profile": icc,
        _PROFILE: icc if named else b"",
        "exif": exif.PREFIX + fields["exif"] if fields["exif"] else b"",
        "xmp": fields["xmp"],
        "cicp": named,
        "dpi": resolution.dpi(size) if size and size.metric else None,
        "aspect": size[:2] if size and not size.metric else None,
    }
    return {name: value for name, value in info.items() if value}


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(bitstream.MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from rdonet_jax import api

    given = image.encoderinfo
    icc = _metadata(image, "icc_profile", _as_profile) or b""
    exif_data, named_xmp = _exif(image), given.get("xmp", image.info.get("xmp"))
    # By XMP as Pillow reads it, also where it is no text.
    orientation = exif.orientation(exif_data, _xmp_bytes(named_xmp) or b"")
    # Code points would take precedence over a profile that is not theirs.
    has_own_profile = icc == image.info.get(_PROFILE, b"")
    size = _metadata(image, *_size_of_pixels(image))
    arguments = {name: given[name] for name in ARGUMENTS if name in given}
    try:
        data = api.compress(
            np.ascontiguousarray(exif.turned(_samples(image), orientation)),
            icc=icc,
            exif=exif.upright(exif_data),
            xmp=xmp.upright(_metadata(image, "xmp", _as_xmp) or b""),
            cicp=_metadata(image, "cicp", _as_cicp) if has_own_profile else None,
            resolution=resolution.turned(size) if orientation in exif.SIDEWAYS else size,
            **_turned_arguments(arguments, orientation),
        )
    except ValueError as error:
        raise OSError(str(error)) from error
    file.write(data)


def _turned_arguments(arguments: dict[str, Any], orientation: int) -> dict[str, Any]:
    """The arguments for the upright image; masks and partitions are those of the image as it is.

    Raises ValueError for a partition of an image that does not stand upright.
    """
    if orientation == 1:
        return arguments
    if isinstance(arguments.get("init"), Partition):
        raise ValueError(
            "a partition is that of an upright image: turn the image first, as "
            "PIL.ImageOps.exif_transpose does"
        )
    mask = arguments.get("roi")
    if mask is None:
        return arguments
    mask = np.asarray(mask)
    return {**arguments, "roi": exif.turned(mask, orientation) if mask.ndim == 2 else mask}


def _metadata(image: Image.Image, name: str, read: Callable[[Any], Any]) -> Any:
    """What `save` was given by this name, or else what `info` has; None without either.

    What cannot be stored is a ValueError if it was given, and is left out with a warning if it
    comes from `info`.
    """
    is_given = name in image.encoderinfo
    value = (image.encoderinfo if is_given else image.info).get(name)
    if value is None:
        return None
    try:
        return read(value)
    except Exception as error:  # of any value that somebody put there
        if is_given:
            raise OSError(f"{name}: {error}") from error
        warnings.warn(f"{name} of the image is left out: {error}", stacklevel=4)
        return None


def _as_profile(value: Any) -> bytes:
    profile = bytes(value) if isinstance(value, _BYTES) else value
    side_data.require("icc", profile)
    return profile


def _as_xmp(value: Any) -> bytes:
    data = _xmp_bytes(value)
    if data is None:
        raise ValueError(f"the XMP is bytes or a text, not {type(value).__name__}")
    side_data.require("xmp", data)
    if not xmp.is_text(data):
        raise ValueError("the XMP is none: it is no text in UTF-8")
    return data


def _xmp_bytes(value: Any) -> bytes | None:
    """XMP as bytes; None for what is neither bytes nor a string."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return bytes(value).rstrip(b"\0") if isinstance(value, _BYTES) else None


def _as_cicp(value: Any) -> cicp.Cicp:
    side_data.require("cicp", value)
    return value


def _exif(image: Image.Image) -> bytes:
    """From its TIFF header on; empty, with a warning, where it has none."""
    try:
        if "exif" not in image.encoderinfo:
            data = pillow_images.exif_of(image)
        else:
            data = image.encoderinfo["exif"] or b""
            data = data.tobytes() if isinstance(data, Image.Exif) else bytes(data)
            data = data.removeprefix(exif.PREFIX)
        if not data or exif.is_exif(data):
            return data
    except Exception:  # Pillow raises almost anything on damaged data
        pass
    warnings.warn("what the image calls EXIF data is none, and is left out", stacklevel=4)
    return b""


def _size_of_pixels(image: Image.Image) -> tuple[str, Callable[[Any], Resolution | None]]:
    """The name under which the image says how large its pixels are, and what reads that."""
    if image.info.get("dpi") or "dpi" in image.encoderinfo:
        return "dpi", lambda pair: resolution.of_dpi(*_two_numbers(pair)) if pair else None
    return "aspect", lambda pair: resolution.of_aspect(*_two_numbers(pair))


def _two_numbers(pair: Any) -> tuple[Any, Any]:
    try:
        across, down = pair
    except (TypeError, ValueError) as error:
        raise ValueError(f"two numbers are needed, not {short_repr(pair)}") from error
    return across, down


def _samples(image: Image.Image) -> np.ndarray:
    """The image's samples, with alpha where a palette or a color is transparent.

    Raises TransparentColorError for a color of which it is not known which pixels it hides.
    """
    if image.mode in ("P", "PA"):
        alpha = "A" if image.has_transparency_data else ""
        return np.asarray(image.convert(f"RGB{alpha}"))
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
    elif image.mode in ("1", "L", "LA", "RGB", "RGBA"):
        samples = np.asarray(image.convert("L") if image.mode == "1" else image)
    else:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}")
    if image.mode.endswith("A") or "transparency" not in image.info:
        return samples
    of_key = pillow_images.alpha_of_key(image, samples)
    return samples if of_key is None else np.dstack([samples, of_key])


Image.register_open(FORMAT, RDOImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, COMPRESSED_SUFFIX)
Image.register_mime(FORMAT, "image/x-rdonet")
