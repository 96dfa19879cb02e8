"""Rate-distortion search for partitions, and rate control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.rdo.coding import encode
    from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
    from rdonet_jax.rdo.encoder import EncodeResult, choose
    from rdonet_jax.rdo.initial_masks import initial_partition, register_mask
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "EncodeOptions": "rdonet_jax.rdo.encode_options:EncodeOptions",
            "EncodeResult": "rdonet_jax.rdo.encoder:EncodeResult",
            "Plan": "rdonet_jax.rdo.encode_options:Plan",
            "Target": "rdonet_jax.rdo.encode_options:Target",
            "choose": "rdonet_jax.rdo.encoder:choose",
            "encode": "rdonet_jax.rdo.coding:encode",
            "initial_partition": "rdonet_jax.rdo.initial_masks:initial_partition",
            "register_mask": "rdonet_jax.rdo.initial_masks:register_mask",
        },
    )

__all__ = [
    "EncodeOptions",
    "EncodeResult",
    "Plan",
    "Target",
    "choose",
    "encode",
    "initial_partition",
    "register_mask",
]
