"""Packages that smaller installations lack, and the sentence that says what needs them."""

from __future__ import annotations

OPTIONAL = ("jax", "jaxlib", "flax")


def sentence(error: ModuleNotFoundError) -> str | None:
    """What to install, for an error of importing one of `OPTIONAL`; None for any other."""
    package = (error.name or "").partition(".")[0]
    if package not in OPTIONAL:
        return None
    return (
        f"this needs {package}, which is not installed: pip install jax flax. Portable models are "
        "coded without it where there is no search"
    )
