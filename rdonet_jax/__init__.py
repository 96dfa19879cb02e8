"""RDONet in JAX: a learned image codec with true rate-distortion optimization.

`compress` and `decompress` turn arrays into files' bytes and back; see `rdonet_jax.api`.
"""

from typing import Any

__all__ = ["compress", "decompress"]


def __getattr__(name: str) -> Any:
    # Here, since the package is imported by commands that answer without JAX.
    if name in __all__:
        from rdonet_jax import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
