"""The version of the package."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "rdonet-jax"


def installed() -> str | None:
    """The installed version; None in a checkout that is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


__version__ = installed() or "0+unknown"
"""By PEP 440."""
