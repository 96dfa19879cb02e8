"""The levels of effort: what each does, and that more of it costs no more bits."""

from __future__ import annotations

import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.rdo import effort, encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.rdo.search import fast

pytestmark = pytest.mark.once

QUALITY = 60.0


def test_effort_0_is_no_search_and_gives_the_file_of_no_options(mini_model, photograph):
    plain = encoder.encode(mini_model, photograph, EncodeOptions(QUALITY))
    assert effort.plan(0) == Plan()
    options = EncodeOptions(QUALITY, plan=effort.plan(0))
    assert encoder.encode(mini_model, photograph, options).encoded.data == plain.encoded.data


def test_no_level_does_less_than_the_one_before():
    for before, after in zip(effort.EFFORTS, effort.EFFORTS[1:], strict=False):
        assert before.passes <= after.passes and before.refinements <= after.refinements
        most = [fast.most_evaluations(work.passes, work.trials) for work in (before, after)]
        assert most[0] < most[1] or before.refinements < after.refinements
    assert effort.plan(3) == Plan(passes=1)
    assert effort.plan(7, "static") == Plan("static", passes=2, refinements=30)


@pytest.mark.slow
def test_more_effort_costs_less(start_model, photograph):
    small = np.ascontiguousarray(photograph[:128, :192])
    summaries = []
    for level in (1, 3, 5, 6):
        options = EncodeOptions(QUALITY, plan=effort.plan(level, "uniform-64"))
        found = encoder.encode(start_model, small, options)
        decoded = codec.decode(start_model, found.encoded.data)
        np.testing.assert_array_equal(decoded.image, found.encoded.image)
        summaries.append(found.searched)
    costs = [summaries[0].before, *(summary.after for summary in summaries)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("level", [-1, 10, 1.0, True, "7"])
def test_levels_that_there_are_not_are_refused(level):
    with pytest.raises(ValueError, match="an effort is an integer from 0 to 9, not"):
        effort.plan(level)


@pytest.mark.parametrize("parts", [(1, None), (None, 10), (0, 0)])
def test_an_effort_and_its_parts_contradict_each_other(parts):
    with pytest.raises(ValueError, match="not both"):
        effort.chosen_plan(3, "variance", *parts)
    assert effort.chosen_plan(None, "static", *parts) == Plan("static", *(n or 0 for n in parts))
