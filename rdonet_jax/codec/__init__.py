"""Symbols to bytes and back, for every family of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.codec.bitstream import FormatError
    from rdonet_jax.codec.codec import (
        Decoded,
        Encoded,
        choose_partition,
        decode,
        encode,
    )
    from rdonet_jax.codec.errors import EncodeError
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "FormatError": "rdonet_jax.codec.bitstream:FormatError",
            "Decoded": "rdonet_jax.codec.codec:Decoded",
            "EncodeError": "rdonet_jax.codec.errors:EncodeError",
            "Encoded": "rdonet_jax.codec.codec:Encoded",
            "choose_partition": "rdonet_jax.codec.codec:choose_partition",
            "decode": "rdonet_jax.codec.codec:decode",
            "encode": "rdonet_jax.codec.codec:encode",
        },
    )

__all__ = [
    "Decoded",
    "EncodeError",
    "Encoded",
    "FormatError",
    "choose_partition",
    "decode",
    "encode",
]
