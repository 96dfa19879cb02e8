"""Encodes images and decodes files, for the command line and the Python API.

`encode` uses rate control for a target and a single encoding for a quality. `decode` finds the
model by the header of the file.
"""

from __future__ import annotations

import os

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.codec import Decoded, Report
from rdonet_jax.codec.compressed_file import CompressedFile
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.core.defaults import DEFAULT_ENGINE
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, rate_control
from rdonet_jax.rdo.encode_options import EncodeOptions
from rdonet_jax.rdo.encoder import EncodeResult


class UnknownWeightsError(FormatError):
    """The file was written with a model that is not bundled."""


def encode_steps(options: EncodeOptions) -> tuple[str, ...]:
    """The steps that `encode` reports, in this order."""
    if options.target is not None:
        return rate_control.steps(options.plan)
    return encoder.steps(options.plan, options.reconstruct)


def encode(
    model: Model,
    image: PreparedImage | ImageData | np.ndarray,
    options: EncodeOptions,
    report: Report = codec.silent,
) -> EncodeResult:
    """Encodes an image for a target or at a quality.

    `image` may be an array of pixels. `report` is called at the beginning of each of
    `encode_steps`. An interrupt (Ctrl-C) ends a search, and the best partition so far is used.

    Raises `EncodeError` for an image that cannot be encoded and for options that the model does not
    support, `TargetError` for a target that no quality meets, and `PartitionError` for a partition
    of another size than the image's.
    """
    if options.target is not None:
        return rate_control.encode(model, image, options, report)
    return encoder.encode(model, image, options, report)


def decode(
    file: CompressedFile,
    library: ModelLibrary,
    model: str | os.PathLike[str] | None = None,
    report: Report = codec.silent,
    engine: str = DEFAULT_ENGINE,
) -> Decoded:
    """Decodes a parsed file.

    The model is the bundled one whose hash is in the header, or `model`, a name or the path of a
    weights file. `report` is called at the beginning of each of `codec.DECODING_STEPS`.

    Raises `UnknownWeightsError` if no bundled model has that hash, `FormatError` for a file that
    the model cannot decode, as `ModelLibrary.load` does, and as `engine_choice.choose` does.
    """
    return codec.decode_file(_model_of(file, library, model), file, report, engine)


def _model_of(
    file: CompressedFile, library: ModelLibrary, name: str | os.PathLike[str] | None
) -> Model:
    if name is not None:
        return library.load(name)
    model = library.find(file.header.weights)
    if model is None:
        raise UnknownWeightsError(
            f"needs the weights {file.header.weights.hex()}, which are not bundled"
        )
    return model
