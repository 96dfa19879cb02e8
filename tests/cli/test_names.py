"""Names on the command line, sizes, and what results take over from their sources."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.cli.options import arguments

# The end of options


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ("compress -- -x.png", ["-x.png"]), ("compress a.png -- -y.rdo", ["a.png", "-y.rdo"]),
        ("compress --force -- --force", ["--force"]), ("compress -- -- -o", ["--", "-o"]),
        ("compress --out-dir o -- -a b -", None), ("info -- -a b -c", ["-a", "b", "-c"]),
        ("decompress -- -x.rdo -", ["-x.rdo", "-"]), ("info --json a --", ["a"]),
        ("compress --out-dir -o -- a", None), ("compress -o b -- -a", ["-a", "b"]),
    ],
)  # fmt: skip
def test_what_stands_behind_two_dashes_is_a_name(capsys, given, files):
    if files is None:
        with pytest.raises(SystemExit, match="2"):
            arguments.parse(given.split())
        return
    assert arguments.parse(given.split()).files == files


WORDS = st.text(st.characters(blacklist_characters="\0"), min_size=1)


@pytest.mark.slow
@given(before=st.lists(WORDS.filter(lambda w: w[0] != "-")), behind=st.lists(WORDS, min_size=1))
def test_all_names_behind_two_dashes_come_as_they_are(before, behind):
    assert arguments.parse(["info", *before, "--", *behind]).files == before + behind


@pytest.mark.slow
def test_wrong_usage_behind_two_dashes_is_named_as_it_was_given(rdonet):
    code, _, err = rdonet("models", "--", "-a")
    assert (code, err) == (2, "rdonet models: unexpected arguments: -a (see --help)\n")
    assert rdonet("info", "--").code == 2
    assert rdonet("compress", "--", "").code == 2


def test_files_whose_names_begin_with_a_dash_go_there_and_back(rdonet, bundle):
    os.rename("a.png", "-a.png")
    assert rdonet("compress", "--", "-a.png").out.startswith("-a.png.rdo: ")
    assert rdonet("info", "--", "-a.png.rdo").code == 0
    assert rdonet("decompress", "--out-dir", "out", "--", "-a.png.rdo").code == 0
    assert Path("out/-a.png").exists()


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("40000", 40_000), ("40000B", 40_000), ("40k", 40_000), ("40K", 40_000), ("40kb", 40_000),
        ("40kB", 40_000), ("40 KB", 40_000), ("40KiB", 40_960), ("40Ki", 40_960), ("40kib", 40_960),
        ("1.5M", 1_500_000), ("1.5MB", 1_500_000), ("1.5MiB", 1_572_864), ("1g", 10**9),
        ("0.001GiB", 1_073_741), ("1e3", 1000), ("0.1", 1), ("1e300k", 2**62),
    ],
)  # fmt: skip
def test_sizes_are_understood_as_people_write_them(text, size):
    assert arguments.parse(["compress", "a", "--target-size", text]).target_size == size


@pytest.mark.parametrize(
    "text", ["", "k", "kB", "40i", "40iB", "40KK", "40T", "40 bytes", "-4k", "0k", "nank", "1,5M"]
)
def test_what_is_no_size_is_wrong_usage(rdonet, text):
    code, _, err = rdonet("compress", "a.png", f"--target-size={text}")
    assert code == 2 and f"{text!r} is no size, such as 40000, 40k or 40KiB" in err


# Names of outputs


@pytest.mark.parametrize("name", ["new/", "d/", "c.rdo/", "c.png/"])
@pytest.mark.parametrize(("command", "source"), [("compress", "a.png"), ("decompress", "b.rdo")])
def test_the_name_of_a_folder_is_no_output(refusal, command, source, name):
    Path("d").mkdir()
    assert "is the name of a folder" in refusal(name, command, source, name, "--force")


SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".gif", ".tga", ".jp2", ".j2k", ".pgm", ".pbm", ".ppm"),
    *(".bmp", ".ico", ".avif", ".webp", ".tif", ".qoi", ".heic", ".jxl", ".PNG"),
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_image_is_overwritten_by_a_compressed_file(refusal, suffix):
    Path(f"y{suffix}").write_bytes(b"precious")
    cause = refusal(f"y{suffix}", "compress", "a.png", f"y{suffix}", "--force")
    assert cause == "is the name of an image, not of a compressed file"


# What is taken over

LONG_AGO = 1_000_000_000_123_456_789


@pytest.fixture
def old(folder):
    """Sources of a time and with permissions that no new file has."""
    for name in ("a.png", "b.rdo"):
        os.utime(name, ns=(LONG_AGO + 10**9, LONG_AGO))
        os.chmod(name, 0o4604)
    return folder


def kept(name):
    status = os.stat(name)
    return status.st_mtime_ns, stat.S_IMODE(status.st_mode)


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["compress", "a.png", "c.rdo"], "c.rdo"), (["decompress", "b.rdo", "c.png"], "c.png"),
        (["compress", "a.png", "--out-dir", "out"], "out/a.png.rdo"),
        (["decompress", "b.rdo", "--out-dir", "out"], "out/b.png"),
    ],
)  # fmt: skip
def test_times_and_permissions_are_taken_over_where_that_is_asked_for(
    rdonet, bundle, old, arguments, result
):
    assert rdonet(*arguments).code == 0
    assert kept(result)[0] > LONG_AGO + 10**18 / 10**3
    assert kept(result)[1] != 0o604
    assert rdonet(*arguments, "--preserve", "--force").code == 0
    assert kept(result) == (LONG_AGO, 0o604)  # and not the right to run as the owner


def test_a_result_is_never_open_to_more_than_its_source_was(rdonet, bundle, old, monkeypatch):
    os.chmod("b.rdo", 0o600)
    seen = []
    save = Image.Image.save

    def spying(image, file, *others, **more):
        unfinished = Path().glob(".*.part")
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in unfinished)
        return save(image, file, *others, **more)

    monkeypatch.setattr(Image.Image, "save", spying)
    assert rdonet("decompress", "b.rdo", "c.png", "--preserve").code == 0
    assert seen == [0o600]
