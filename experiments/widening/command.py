"""What the commands of this package have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rdonet_jax.core.config import ConfigError, PortableConfig
from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models import zoo

EXPECTED = (ConfigError, dataset.DatasetError, ImageError, zoo.ZooError)
"""Errors that are one line to the user."""


@contextlib.contextmanager
def naming(file: str) -> Iterator[None]:
    """Lets a `ConfigError` begin with the file whose network it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def portable(name: str) -> zoo.Model:
    """The portable network of this name or file. Raises `ConfigError` for another, `ZooError`."""
    model = zoo.load(name)
    if not isinstance(model.config, PortableConfig):
        raise ConfigError(f"{name}: is no portable network, and only these can be widened")
    return model
