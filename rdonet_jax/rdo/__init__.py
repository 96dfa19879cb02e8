"""Rate-distortion search for partitions, and rate control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.rdo.encoder import Optimised, Plan, choose, encode
    from rdonet_jax.rdo.rate_control import Target
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "Optimised": "rdonet_jax.rdo.encoder:Optimised",
            "Plan": "rdonet_jax.rdo.encoder:Plan",
            "choose": "rdonet_jax.rdo.encoder:choose",
            "encode": "rdonet_jax.rdo.encoder:encode",
            "Target": "rdonet_jax.rdo.rate_control:Target",
        },
    )

__all__ = [
    "Optimised",
    "Plan",
    "Target",
    "choose",
    "encode",
]
