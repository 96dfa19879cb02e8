"""Training runs and the export of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.training.config import RunLength, TrainingConfig
    from rdonet_jax.training.folder.run_dir import Run
    from rdonet_jax.training.loop import Intervals, Outcome
    from rdonet_jax.training.masks import register_schedule
    from rdonet_jax.training.run import Sources, export, train
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "RunLength": "rdonet_jax.training.config:RunLength",
            "TrainingConfig": "rdonet_jax.training.config:TrainingConfig",
            "Intervals": "rdonet_jax.training.loop:Intervals",
            "Outcome": "rdonet_jax.training.loop:Outcome",
            "register_schedule": "rdonet_jax.training.masks:register_schedule",
            "Sources": "rdonet_jax.training.run:Sources",
            "export": "rdonet_jax.training.run:export",
            "train": "rdonet_jax.training.run:train",
            "Run": "rdonet_jax.training.folder.run_dir:Run",
        },
    )

__all__ = [
    "Intervals",
    "Outcome",
    "Run",
    "RunLength",
    "Sources",
    "TrainingConfig",
    "export",
    "register_schedule",
    "train",
]
