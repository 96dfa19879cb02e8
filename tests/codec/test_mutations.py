"""Bytes from strangers: files changed in all kinds of ways decode or are refused, soon."""

from __future__ import annotations

import pytest

from tests import mutations

COUNTS = [500, pytest.param(5000, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def files(mini_model):
    return mutations.valid_files(mini_model)


@pytest.fixture(scope="module", params=COUNTS)
def found(request, mini_model, files):
    """What came of so many inputs; none of them raised anything else."""
    findings = mutations.tried(mini_model, files, range(request.param))
    assert findings.counts.total() == request.param
    return findings


def test_mutated_files_give_an_image_or_the_one_exception(found):
    assert found.slowest < mutations.SLOWEST
    assert found.memory < mutations.MOST_BYTES


def test_mutations_reach_every_part_of_the_decoder(found):
    """Else the test above would say little."""
    count = found.counts.total()
    assert found.counts["decoded"] < count / 4
    assert max(found.counts.values()) < count / 2
    assert len(found.counts) > 15


def test_an_input_is_a_pure_function_of_its_number(files):
    assert mutations.mutated(7, files) == mutations.mutated(7, files) != mutations.mutated(8, files)
