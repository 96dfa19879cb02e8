"""What results of many files are called, and names that collide."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.cli.files import file_names
from tests.cli.conftest import write


@pytest.fixture
def folds(monkeypatch):
    """Lets the file system seem to hold no names apart that differ in case alone."""
    exists, scandir = os.path.exists, os.scandir

    def folding(path):
        folder, name = os.path.split(path)
        if not os.path.isdir(folder):
            return exists(path)
        return name.casefold() in [entry.name.casefold() for entry in scandir(folder)]

    monkeypatch.setattr(file_names.os.path, "exists", folding)


@pytest.mark.slow
def test_of_files_that_would_become_one_the_first_is_done_and_the_others_are_named(copied):
    write("x/a.png", "y/a.png", "y/b.png", "z/a.png")
    done, made = copied("compress", "x/a.png", "y/a.png", "y/b.png", "z/a.png")
    assert made == {"a.png.rdo": "x/a.png", "b.png.rdo": "y/b.png"}
    assert done.code == 1 and done.out.startswith("2 files, 2 failed, ")
    assert done.err == (
        "rdonet: y/a.png: would become out/a.png.rdo, as would x/a.png\n"
        "rdonet: z/a.png: would become out/a.png.rdo, as would x/a.png\n"
    )


def test_a_second_run_names_the_same_files(copied):
    write("x/a.png", "y/a.png")
    first, made = copied("compress", "x/a.png", "y/a.png")
    second, same = copied("compress", "x/a.png", "y/a.png")
    assert (second.code, second.err, same) == (first.code, first.err, made)
    assert second.out.startswith("0 files, 1 were there already, 1 failed, ")


def test_json_has_a_line_for_a_file_that_collides(copied):
    write("x/a.png", "y/a.png")
    done, _ = copied("compress", "x/a.png", "y/a.png", "--json")
    failure, success, summary = map(json.loads, done.out.splitlines())
    assert failure["input"] == "y/a.png" and "as would x/a.png" in failure["error"]
    assert success["input"] == "x/a.png"
    assert (summary["summary"]["done"], summary["summary"]["failed"]) == (1, 1)


def test_restored_images_collide_likewise(copied):
    write("c/a.rdo", "c/a.png.rdo")
    done, made = copied("decompress", "c")
    assert made == {"a.png": "c/a.png.rdo"}
    assert done.err == "rdonet: c/a.rdo: would become out/a.png, as would c/a.png.rdo\n"


def test_a_suffix_in_capital_letters_is_left_out_too(copied):
    write("c/PHOTO.PNG.RDO", "c/other.RDO")
    done, made = copied("decompress", "c")
    assert (done.code, set(made)) == (0, {"PHOTO.PNG", "other.png"})


def test_a_file_that_is_named_twice_is_meant_once(copied):
    write("x/a.png")
    done, made = copied("compress", "x/a.png", "x/../x/a.png", os.path.abspath("x/a.png"), "x")
    assert (done.code, done.err, made) == (0, "", {"a.png.rdo": "x/a.png"})


@pytest.mark.parametrize("pair", ["photo PHOTO", "\u00e9 e\u0301"])
def test_names_that_the_file_system_tells_apart_are_two_files(copied, pair):
    names = [f"x/{name}.png" for name in pair.split()]
    write(*names)
    if len(os.listdir("x")) == 1:
        pytest.skip("this file system takes them for one")
    done, made = copied("compress", "x")
    assert (done.code, done.err, sorted(made.values())) == (0, "", sorted(names))


def test_names_that_differ_in_case_alone_collide_where_case_does_not_count(copied, folds):
    write("x/photo.png", "x/PHOTO.png", "x/other.png")
    done, made = copied("compress", "x")
    assert set(made) == {"PHOTO.png.rdo", "other.png.rdo"}
    assert done.err == (
        "rdonet: x/photo.png: would become out/photo.png.rdo, as would x/PHOTO.png\n"
    )


@pytest.mark.slow
@given(st.text(min_size=1), st.text(min_size=1))
def test_no_two_names_that_some_file_system_takes_for_one_escape(first, second):
    for change in (str.upper, str.lower, lambda text: unicodedata.normalize("NFD", text)):
        same = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)
        if same or change(first) == second:
            assert file_names.folded(first) == file_names.folded(second)


def test_a_folder_where_nothing_can_be_made_tells_all_names_apart(tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(file_names.interrupts, "temporary_file", deny)
    same = file_names.identity(str(tmp_path / "not" / "there"))
    assert same("a") != same("A")


def test_looking_how_names_are_told_apart_leaves_nothing(tmp_path):
    file_names.identity(str(tmp_path / "not" / "there"))
    assert list(tmp_path.iterdir()) == []
