"""Whether JAX can use the platform that JAX_PLATFORMS names."""

from __future__ import annotations

import os


class PlatformError(ValueError):
    """JAX cannot use the platform of JAX_PLATFORMS."""


def require_platform() -> None:
    """Raises `PlatformError` if JAX finds no device of its platform."""
    import jax

    try:
        jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        cause = str(error) or "JAX finds no such platform here"
        raise PlatformError(f"JAX_PLATFORMS={platforms}: {cause}") from error
