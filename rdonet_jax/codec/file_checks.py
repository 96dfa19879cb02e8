"""What a file has to be for a model to decode it, and why one does not decode here."""

from __future__ import annotations

import numpy as np

from rdonet_jax.codec import family_codec
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model


def cause_here(config: AnyConfig, header: Header, cause: str) -> str:
    """Why the file cannot be decoded here: `cause`, unless it was written elsewhere."""
    here = family_codec.of(config).platform()
    if header.platform != here:
        return (
            f"the file is bound to the platform that wrote it ({header.platform}), "
            f"and this one is {here}"
        )
    if here:
        return f"{cause}; such files may not decode on another processor than that which wrote them"
    return cause


def check_model(model: Model, header: Header, sections: Sections) -> None:
    """Raises `FormatError` for the file of another model, or what this one never writes."""
    if header.weights != model.digest:
        raise FormatError(
            f"the file was written with the weights {header.weights.hex()}, "
            f"not with those of {model.name} ({model.digest.hex()})"
        )
    bound = bool(family_codec.of(model.config).platform())
    if bound and not header.platform:
        raise FormatError(f"the file names no platform, which those of {model.name} must")
    if header.platform and not bound:
        raise FormatError(f"the file names a platform, to which none of {model.name} is bound")
    if sections.offsets and not family_codec.of(model.config).takes_regions:
        raise FormatError(f"the file has regions of other qualities, which {model.name} does not")
    if not registry.family_of(model.config).variable_rate:
        if header.quality is not None:
            raise FormatError(f"the file names a quality, of which {model.name} has one alone")
        return
    largest = model.config.steps_of_quality
    if header.quality is None or header.quality > largest:
        named = "no quality" if header.quality is None else f"the quality {header.quality}"
        raise FormatError(f"the file names {named}, not one of 0 to {largest} of {model.name}")


def has_levels_of(config: AnyConfig, p: Partition, height: int, width: int) -> bool:
    """Whether the model has all levels of a trimmed partition."""
    if registry.family_of(config).has_levels(config):
        return True
    return all(map(np.array_equal, p, partition.uniform_of_image(0, height, width)))
