"""Names that differ, of images whose names are equal."""

from __future__ import annotations

import pytest

from rdonet_jax.imaging import image_names

pytestmark = pytest.mark.once


def test_names_that_differ_stay():
    names = ["a.png", "b/a.png", "b"]
    assert image_names.numbered(names) == names
    assert image_names.distinct(names, "xyz") == names


def test_equal_names_are_numbered_and_no_number_makes_them_equal_again():
    names = ["a.png", "a.png", "a-2.png", "b/a", "a.png", "b/a", "a-3.png"]
    expected = ["a.png", "a-4.png", "a-2.png", "b/a", "a-5.png", "b/a-2", "a-3.png"]
    assert image_names.numbered(names) == expected


def test_the_folder_is_named_where_names_are_equal():
    names = ["x", "x", "y", "x"]
    assert image_names.distinct(names, ["a", "b", "b", "b"]) == ["a/x", "b/x", "y", "b/x-2"]


def test_very_many_equal_names_take_no_time():
    assert len(set(image_names.numbered(["x.png"] * 100_000))) == 100_000
