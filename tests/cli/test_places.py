"""Where results of many files go: names that collide, lists, and what folders hold."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.cli.commands import compress, decompress
from rdonet_jax.cli.files import file_names, jobs
from rdonet_jax.cli.files.file_result import FileResult


@pytest.fixture
def copied(rdonet, monkeypatch):
    """`rdonet` with work that copies, and what the results then are, by their names."""

    def copy(source, target, options, models, show_progress):
        data = Path(source).read_bytes()
        Path(target).write_bytes(data)
        return FileResult((), {"input": str(source), "notes": []}, 1, len(data), ())

    monkeypatch.setattr(compress, "compress_file", copy)
    monkeypatch.setattr(decompress, "decompress_file", copy)

    def run(*arguments, folder="out"):
        done = rdonet(*arguments, "--out-dir", folder)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return done, {
            str(path.relative_to(folder)): os.fsdecode(path.read_bytes()) for path in files
        }

    return run


def write(*names):
    """Files that hold their own names."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


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


# Collisions


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
