"""Which files are meant: lists of names, and what folders hold."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.cli.files import file_names, jobs
from tests.cli.conftest import write

# Lists


@pytest.mark.parametrize(
    "data",
    [
        b"a/x.png\nb/x.png\n", b"a/x.png\r\nb/x.png\r\n", b"\n\na/x.png\n\nb/x.png",
        b"\xef\xbb\xbfa/x.png\nb/x.png\n", b"a/x.png\0b/x.png\0", b"a/x.png\0b/x.png",
        "\ufeffa/x.png\r\nb/x.png\r\n".encode("utf-16-le"),
        "\ufeffa/x.png\nb/x.png\n".encode("utf-16-be"),
    ],
)  # fmt: skip
def test_a_list_is_understood_as_it_is_written_anywhere(copied, monkeypatch, data):
    write("a/x.png", "b/x.png")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
    done, made = copied("compress", "--list", "-")
    assert (done.code, done.err) == (0, "")
    assert made == {"a/x.png.rdo": "a/x.png", "b/x.png.rdo": "b/x.png"}


def test_names_that_end_with_nul_may_hold_line_ends(copied):
    name = "a/x\n\r.png"
    write(name)
    Path("names").write_bytes(os.fsencode(name))
    done, made = copied("compress", "--list", "names", "--null")
    assert (done.code, made) == (0, {"x\n\r.png.rdo": name})


def test_a_list_with_a_mark_of_utf_16_that_is_not_in_it_is_refused(refusal):
    Path("names").write_bytes(b"\xff\xfea")
    assert "utf-16" in refusal("names", "compress", "--list", "names", "--out-dir", "out")


NAMES = st.text(
    st.characters(blacklist_characters="\0\r\n", blacklist_categories=["Cs"]), min_size=1
)


@given(st.lists(NAMES.filter(lambda name: name[0] != "\ufeff")))
def test_every_list_of_names_is_read_back(names):
    for data, null in (
        ("".join(f"{name}\n" for name in names), False),
        ("".join(f"{name}\r\n" for name in names), False),
        ("".join(f"{name}\0" for name in names), True),
        ("".join(f"{name}\0" for name in names), False),
    ):
        assert file_names.names_of(data.encode(), null) == names


def test_listed_names_keep_their_place_below_their_common_folder(copied):
    write("2023/a.png", "2023/may/a.png", "2024/a.png", "here.png")
    Path("names").write_text("2023/a.png\n./2023/may/a.png\n")
    _, made = copied("compress", "--list", "names", "2024/a.png", "here.png", folder="o")
    assert set(made) == {"a.png.rdo", "may/a.png.rdo", "here.png.rdo"}
    Path("names").write_text(f"2023/a.png\n{os.path.abspath('2024/a.png')}\n2023/may\n")
    _, made = copied("compress", "--list", "names", folder="p")
    assert set(made) == {"2023/a.png.rdo", "2024/a.png.rdo", "2023/may/a.png.rdo"}


def test_a_list_alone_gives_a_listed_folder_the_places_that_a_named_one_has(copied):
    write("x/a.png", "x/y/b.png")
    Path("names").write_text("x\n")
    _, listed = copied("compress", "--list", "names", folder="o")
    _, named = copied("compress", "x", folder="p")
    assert listed == named


def test_an_empty_list_is_no_error(copied):
    Path("names").write_text("\n")
    done, made = copied("compress", "--list", "names")
    assert (done.code, done.err, made) == (0, "", {})


# What folders hold


def test_hidden_folders_and_files_are_passed_over_but_not_where_they_are_named(copied):
    write("x/a.png", "x/.git/b.png", "x/y/.thumbnails/c.png", "x/.d.png")
    assert set(copied("compress", "x")[1]) == {"a.png.rdo"}
    assert set(copied("compress", "x/.git", folder="other")[1]) == {"b.png.rdo"}


def test_links_to_folders_are_not_followed_and_named(copied):
    write("x/a.png", "elsewhere/b.png")
    for name, leads_to in (("round", "."), ("out", "../elsewhere")):
        os.symlink(leads_to, f"x/{name}")
    done, made = copied("compress", "x")
    assert (done.code, set(made)) == (0, {"a.png.rdo"})
    assert done.err == ("rdonet: links to folders, which are not followed: 2 (x/out, x/round)\n")


def test_a_link_that_leads_nowhere_or_round_fails_alone(copied):
    write("x/a.png")
    os.symlink("nothing.png", "x/b.png")
    os.symlink("c.png", "x/c.png")
    done, made = copied("compress", "x")
    assert (done.code, set(made)) == (1, {"a.png.rdo"})
    assert done.out.startswith("1 file, 2 failed, ")
    assert [line.split(": ")[1] for line in done.err.splitlines()] == ["x/b.png", "x/c.png"]


def test_photographs_with_further_images_are_found_in_folders(copied):
    write("x/a.mpo", "x/b.MPO")
    done, made = copied("compress", "x")
    assert (done.code, set(made)) == (0, {"a.mpo.rdo", "b.MPO.rdo"})


def test_line_ends_in_names_break_no_lines(copied):
    name = "x/a\nb: 12 bytes.png"
    write(name)
    assert copied("compress", "x", "-v")[0].code == 0
    done, _ = copied("compress", "x", "-v")
    assert (done.code, done.out.count("\n")) == (0, 2)
    assert "a\\nb: 12 bytes.png.rdo: was there already" in done.out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_pipe_in_a_folder_is_passed_over(copied):
    write("x/a.png")
    os.mkfifo("x/b.png")
    done, made = copied("compress", "x")
    assert (done.code, set(made)) == (0, {"a.png.rdo"})
    assert done.err == "rdonet: files passed over in folders: 1 (.png)\n"


def test_a_folder_without_images_is_named_and_stops_nothing(copied):
    write("x/a.png")
    Path("d").mkdir()
    done, made = copied("compress", "d", "x")
    assert (done.code, set(made)) == (1, {"a.png.rdo"})
    assert done.err == "rdonet: d: holds no files with a suffix that is known here\n"


def test_the_places_in_which_results_lie_do_not_depend_on_the_number_of_jobs(copied):
    write(*(f"x/{number}/a.png" for number in range(20)))
    _, made = copied("compress", "x", "-j", "3")
    assert made == {f"{number}/a.png.rdo": f"x/{number}/a.png" for number in range(20)}
    assert isinstance(jobs.compressions(["x"], "out"), jobs.Found)
