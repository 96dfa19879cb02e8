"""Rates and quality over sets of images, by real files or by estimates, and BD-rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.evaluation.bd_rates import BdRate, BdRateError, Line, bd_rate, line
    from rdonet_jax.evaluation.real_files import Settings, evaluate
    from rdonet_jax.evaluation.results import Row
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "BdRate": "rdonet_jax.evaluation.bd_rates:BdRate",
            "BdRateError": "rdonet_jax.evaluation.bd_rates:BdRateError",
            "Line": "rdonet_jax.evaluation.bd_rates:Line",
            "bd_rate": "rdonet_jax.evaluation.bd_rates:bd_rate",
            "line": "rdonet_jax.evaluation.bd_rates:line",
            "Row": "rdonet_jax.evaluation.results:Row",
            "Settings": "rdonet_jax.evaluation.real_files:Settings",
            "evaluate": "rdonet_jax.evaluation.real_files:evaluate",
        },
    )

__all__ = [
    "BdRate",
    "BdRateError",
    "Line",
    "Row",
    "Settings",
    "bd_rate",
    "evaluate",
    "line",
]
