"""Lets Pillow open and save compressed files, once this module is imported.

    import rdonet_jax.pillow_plugin
    Image.open("photo.rdo").show()
    image.save("photo.rdo", quality=40)

Pillow has no colors of 16 bits, so such files open in 8; gray ones of 16 bits do not lose any.
Images are saved upright, turned as their EXIF data says, or else their XMP. `save` takes `quality`,
`target`, `model`, `rdo_passes`, `init`, `engine`, `refinements`, `effort` and `roi` as
`rdonet_jax.compress` does, and `icc_profile`, `exif`, `xmp` and `dpi` as Pillow's own formats do.
`info` of an opened file holds these, and `cicp` if it has that, which is saved again unless the
profile is another one by then. Ctrl-C while an image is saved leaves an empty file, as with
Pillow's own formats.
"""

from __future__ import annotations

import io
import warnings
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from rdonet_jax.codec import bitstream, compressed_file, side_data
from rdonet_jax.codec.compressed_file import CompressedFile
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.metadata import cicp, exif, resolution, xmp
from rdonet_jax.imaging.metadata.resolution import Resolution

FORMAT = "RDO"
ARGUMENTS = (
    "quality", "target", "model", "rdo_passes", "init", "engine", "refinements", "effort", "roi",
)  # fmt: skip
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
            file = compressed_file.read(self.fp)
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
            except bitstream.FormatError as error:
                raise OSError(str(error)) from error
            self._compressed = None
            samples = samples if self.mode == "I;16" else pixel_format.to_uint8(samples)
            if self.fp and self._exclusive_fp:  # it was opened by name, for this image alone
                self.fp.close()
            self.fp = io.BytesIO(samples.tobytes())
            # With the mode alone, and not in a tuple, Pillow would map the file that has this name.
            self.tile = [("raw", (0, 0, *self.size), 0, (self.mode,))]
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


def _save(image: Image.Image, file: BinaryIO, filename: str | bytes) -> None:
    from rdonet_jax import api

    given = image.encoderinfo
    icc = given.get("icc_profile", image.info.get("icc_profile")) or b""
    exif_data, text = _exif(image), _xmp(image)
    orientation = exif.orientation(exif_data, text)
    try:
        data = api.compress(
            np.ascontiguousarray(exif.turned(_samples(image), orientation)),
            icc=icc,
            exif=exif.upright(exif_data),
            xmp=xmp.upright(text),
            # Code points would take precedence over a profile that is not theirs.
            cicp=image.info.get("cicp") if icc == image.info.get(_PROFILE, b"") else None,
            resolution=_resolution(image, orientation),
            **{name: given[name] for name in ARGUMENTS if name in given},
        )
    except ValueError as error:
        raise OSError(str(error)) from error
    file.write(data)


def _exif(image: Image.Image) -> bytes:
    """From its TIFF header on; empty, with a warning, where it has none."""
    data = image.encoderinfo.get("exif", image.info.get("exif"))
    data = (data.tobytes() if isinstance(data, Image.Exif) else data or b"").removeprefix(
        exif.PREFIX
    )
    if data and not exif.is_exif(data):
        warnings.warn("what the image calls EXIF data is none, and is left out", stacklevel=5)
        return b""
    return data


def _xmp(image: Image.Image) -> bytes:
    data = image.encoderinfo.get("xmp", image.info.get("xmp")) or b""
    return data.encode() if isinstance(data, str) else data.rstrip(b"\0")


def _resolution(image: Image.Image, orientation: int) -> Resolution | None:
    """Of the image once it stands upright."""
    given = image.encoderinfo.get("dpi", image.info.get("dpi"))
    aspect = None if "dpi" in image.encoderinfo else image.info.get("aspect")
    if given:
        found = resolution.of_dpi(*given)
    else:
        found = resolution.of_aspect(*aspect) if aspect else None
    return resolution.turned(found) if orientation in exif.SIDEWAYS else found


def _samples(image: Image.Image) -> np.ndarray:
    """The image's samples, with alpha where a palette or a color is transparent."""
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
        key = image.info.get("transparency")
        return samples if key is None else np.stack([samples, pixel_format.keyed(samples, key)], -1)
    modes = {"1": "L", "P": "RGB", "PA": "RGBA"}
    mode = modes.get(image.mode, image.mode)
    if mode in ("L", "RGB") and image.has_transparency_data:
        mode += "A"
    if mode not in ("L", "LA", "RGB", "RGBA"):
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}")
    return np.asarray(image if mode == image.mode else image.convert(mode))


Image.register_open(FORMAT, RDOImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, COMPRESSED_SUFFIX)
Image.register_mime(FORMAT, "image/x-rdonet")
