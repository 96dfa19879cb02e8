"""The levels of effort: one number for how much work an encoder spends on an image.

Each level takes longer than the one before, and its files cost no more on average.
"""

from __future__ import annotations

from typing import NamedTuple

from rdonet_jax.core.defaults import SEARCH_TRIALS
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.encode_options import Plan, is_count


class Work(NamedTuple):
    """What a level of effort does."""

    passes: int  # of the search for a partition
    trials: int  # evaluations of a pass that try changes
    refinements: int  # iterations of latent refinement


EFFORTS: tuple[Work, ...] = (
    Work(0, SEARCH_TRIALS, 0),
    Work(1, 0, 0),
    Work(1, 2, 0),
    Work(1, SEARCH_TRIALS, 0),
    Work(2, 3, 0),
    Work(2, SEARCH_TRIALS, 0),
    Work(2, SEARCH_TRIALS, 10),
    Work(2, SEARCH_TRIALS, 30),
    Work(2, SEARCH_TRIALS, 60),
    Work(2, SEARCH_TRIALS, 100),
)
"""By level. Level 0 has no search. At level 1 its estimates decide, without a trial."""


def plan(effort: int, init: str | Partition = "variance") -> Plan:
    """The plan of a level of effort. Raises ValueError for a level that there is not."""
    most = len(EFFORTS) - 1
    if not is_count(effort, most):
        raise ValueError(f"an effort is an integer from 0 to {most}, not {effort!r}")
    return Plan(init, **EFFORTS[effort]._asdict())


def chosen_plan(
    effort: int | None, init: str | Partition, passes: int | None, refinements: int | None
) -> Plan:
    """The plan by a level of effort, or by its parts; None is what is not given.

    Raises ValueError for both, and for values that there are not.
    """
    if effort is None:
        return Plan(init, passes or 0, refinements or 0)
    if passes is not None or refinements is not None:
        raise ValueError(
            "give an effort, or passes of the search and iterations of the refinement, not both: "
            "an effort stands for both"
        )
    return plan(effort, init)
