"""Bytes from strangers: files changed in all kinds of ways decode or are refused, soon."""

from __future__ import annotations

import pytest

from tests import mutations

COUNT = 1500


@pytest.fixture(scope="module")
def files(mini_model):
    return mutations.valid_files(mini_model)


def test_mutated_files_give_a_picture_or_the_one_exception(mini_model, files):
    found = mutations.tried(mini_model, files, range(COUNT))
    assert found.counts.total() == COUNT
    assert found.slowest < mutations.SLOWEST
    assert found.memory < mutations.MOST_BYTES


def test_mutations_reach_every_part_of_the_decoder(mini_model, files):
    """Else the test above would say little."""
    causes = mutations.tried(mini_model, files, range(COUNT)).counts
    assert causes["decoded"] < COUNT / 4
    assert max(count for words, count in causes.items()) < COUNT / 2
    assert len(causes) > 15


def test_an_input_is_a_pure_function_of_its_number(files):
    assert mutations.mutated(7, files) == mutations.mutated(7, files) != mutations.mutated(8, files)
