"""What surrounds the command on a system: manual page, completion, entries for file managers."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rdonet_jax.cli import lazy_commands
from rdonet_jax.cli.commands import completion, desktop, thumbnails
from rdonet_jax.cli.options import arguments, grammar
from rdonet_jax.codec import bitstream
from rdonet_jax.imaging.pixel_format import ImageData
from tests.conftest import ROOT

PARSER = arguments.whole_parser()
COMMANDS = {command.name: command for command in grammar.commands(PARSER)}


# The manual page


def test_the_manual_page_has_every_command_and_option(rdonet):
    page = rdonet("man").out
    words = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
    for name, command in COMMANDS.items():
        assert f".SS {name}\n" in words
        for option in command.options:
            assert ", ".join(option.flags) in words
    assert "(default: 134217728)" in words and "%(" not in words


def test_the_manual_page_of_the_repository_is_todays(rdonet):
    page = (ROOT / "docs" / "rdonet.1").read_text()
    assert rdonet("man").out == page, "make man writes it anew"


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_nothing_to_say_about_the_manual_page(rdonet):
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"], input=rdonet("man").out, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "rdonet - learned image compression" in re.sub(r".\x08|\x1b\[\d*m", "", done.stdout)


# Completion


@pytest.fixture
def completed(rdonet, bundle):
    """What bash offers for a line, at its end."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    Path("completion.sh").write_text(rdonet("completion", "bash").out)

    def run(line: str) -> list[str]:
        words = line.replace("=", " = ").split()  # as bash takes "=" for a word of its own
        words += [""] if line[-1] == " " else []
        script = (
            f"source completion.sh; COMP_WORDS=({shlex.join(words)}); "
            f"COMP_CWORD={len(words) - 1}; _rdonet; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
        )
        assert not done.stderr
        return done.stdout.splitlines()

    return run


def test_bash_completes_commands_options_and_choices(completed):
    assert set(completed("rdonet ")) >= set(COMMANDS)
    assert completed("rdonet decom") == ["decompress"]
    for name, command in COMMANDS.items():
        flags = [flag for option in command.options for flag in option.flags]
        assert completed(f"rdonet {name} -") == flags
    assert completed("rdonet compress --coder ") == ["constriction", "tfc"]
    assert completed("rdonet compress --coder=t") == ["tfc"]
    assert completed("rdonet compress --coder=") == ["constriction", "tfc"]
    assert completed("rdonet completion z") == ["zsh"]


def test_bash_completes_the_files_that_a_command_takes(completed):
    Path("two words.rdo").write_bytes(b"")
    Path("below").mkdir()
    assert sorted(completed("rdonet decompress ")) == ["b.rdo", "below", "two words.rdo"]
    assert "a.png" in completed("rdonet compress ")
    assert completed("rdonet compress a.png --out-dir ") == ["below"]
    assert completed("rdonet compress --quality ") == [""]
    assert completed("rdonet models ") == [""]
    assert completed("rdonet train --data ") == completed("rdonet compress ")
    assert sorted(completed("rdonet eval --results b")) == ["b.rdo", "below"]
    assert completed("rdonet data pack be") == ["below"]


def test_bash_completes_the_bundled_models_and_files(rdonet, bundle, completed):
    assert completed("rdonet compress --model ") == [
        "standard",
        "tiny",
        *completed("rdonet compress "),
    ]
    assert completed("rdonet compress --model=st") == ["standard"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_gets_every_option_and_takes_the_script(rdonet, shell):
    script = rdonet("completion", shell).out
    for name, command in COMMANDS.items():
        assert name in script
        for flag in (flag for option in command.options for flag in option.flags):
            dashes, word = ("-l", flag[2:]) if flag[:2] == "--" else ("-s", flag[1:])
            assert (f" {dashes} {word} " if shell == "fish" else flag) in script
    for name in lazy_commands.COMMANDS:
        files = {
            "bash": f"        {name})\n            if [[ $current == -* ]]; then _rdonet_add -W "
            '"-h --help"\n            else _rdonet_add -f\n',
            "zsh": f"{name})\n                    _arguments '-h[show this help message and exit]' "
            "'--help[show this help message and exit]' \\\n                    '*: :_files'",
            "fish": f"complete -c rdonet -n '__fish_seen_subcommand_from {name}' -F",
        }
        assert files[shell] in script
    if shutil.which(shell):
        Path("script").write_text(script)
        done = subprocess.run([shell, "-n", "script"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


# File managers


def installed(rdonet) -> tuple[Path, Path]:
    code, out, err = rdonet("desktop", "--prefix", "share dir")
    assert (code, err) == (0, "")
    paths = (
        Path("share dir/mime/packages/rdonet.xml"),
        Path("share dir/thumbnailers/rdonet.thumbnailer"),
    )
    assert out.splitlines()[:2] == [f"{path}: written" for path in paths]
    return paths


def test_the_type_is_known_by_suffix_and_by_the_first_bytes(rdonet):
    entry, _ = installed(rdonet)
    space = "{http://www.freedesktop.org/standards/shared-mime-info}"
    kind = ET.parse(entry).getroot().find(f"{space}mime-type")
    assert kind.get("type") == desktop.MIME_TYPE
    assert kind.find(f"{space}glob").get("pattern") == "*.rdo"
    value = kind.find(f"{space}magic/{space}match").get("value")
    assert bytes(value, "ascii").decode("unicode_escape").encode("latin-1") == bitstream.MAGIC
    if shutil.which("update-mime-database"):
        known = Path("share dir/mime/magic").read_bytes()
        assert b"[60:image/x-rdonet]\n>0=\x00\x04" + bitstream.MAGIC in known


def test_the_thumbnailers_line_makes_a_thumbnail(rdonet, bundle, mini_weights, image, monkeypatch):
    _, entry = installed(rdonet)
    parsed = configparser.RawConfigParser()
    parsed.read(entry)
    section = parsed["Thumbnailer Entry"]
    assert section["mimetype"] == f"{desktop.MIME_TYPE};"
    assert os.access(section["tryexec"], os.X_OK)
    fields = {"%s": "40", "%i": str(Path("two words.rdo").absolute()), "%o": "made", "%%": "%"}
    line = [re.sub("%.", lambda m: fields[m[0]], word) for word in shlex.split(section["exec"])]
    # The models of the tests are in no other process: what stands behind the interpreter runs here.
    python, *options = line[: line.index("rdonet_jax") + 1]
    help_text = subprocess.run(
        [python, *options, "thumbnail", "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "rdonet thumbnail" in help_text
    bundle["standard"] = mini_weights
    assert rdonet("compress", "a.png", "two words.rdo").code == 0
    Path("made").write_bytes(b"")  # as file managers do
    assert rdonet(*line[line.index("rdonet_jax") + 1 :]) == (0, "", "")
    with Image.open("made") as small:
        assert (small.format, small.size) == ("PNG", (36, 40))
        whole = Image.fromarray(image).resize((36, 40), Image.Resampling.BOX)
        error = np.mean(np.abs(np.asarray(small, float) - np.asarray(whole, float)))
    assert error < 25


def test_entries_go_away_again_and_only_the_commands_own(rdonet, refusal):
    paths = installed(rdonet)
    assert installed(rdonet) == paths
    code, out, _ = rdonet("desktop", "--prefix", "share dir", "--remove")
    assert code == 0
    assert out.splitlines()[:2] == [f"{path}: removed" for path in paths]
    assert not any(path.exists() for path in paths)
    again = rdonet("desktop", "--prefix", "share dir", "--remove")
    assert again == (0, "share dir: there is nothing to remove\n", "")
    paths[0].write_text("somebody else's")
    for more in ([], ["--remove"]):
        cause = refusal(paths[0], "desktop", "--prefix", "share dir", *more)
        assert cause == "exists, and was not written by this command"


def test_thumbnails_keep_alpha_and_are_never_larger_than_the_image():
    pixels = np.full((30, 60), 40000, np.uint16)
    alpha = np.full((30, 60), 65535, np.uint16)
    alpha[:, :30] = 0
    small = thumbnails.reduced(ImageData(pixels, alpha), 20)
    assert (small.mode, small.size) == ("RGBA", (20, 10))
    assert small.getpixel((19, 5)) == (156, 156, 156, 255)
    assert small.getpixel((0, 5))[3] == 0
    assert thumbnails.reduced(ImageData(pixels), 500).size == (60, 30)


@pytest.fixture
def own(bundle, mini_weights, rdonet):
    """Two compressed files of a model that NumPy computes."""
    bundle["standard"] = mini_weights
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    shutil.copy("c.rdo", "d.rdo")


def test_a_thumbnail_replaces_no_compressed_file(refusal, own):
    assert "is the input" in refusal("c.rdo", "thumbnail", "c.rdo", "c.rdo")
    for more in ([], ["--force"]):
        cause = refusal("d.rdo", "thumbnail", "c.rdo", "d.rdo", *more)
        assert cause == "is a compressed file, and not overwritten"


def test_a_thumbnail_replaces_an_image_with_force_alone(refusal, rdonet, own):
    for name in ("a.png", "other.jpg"):
        Image.new("RGB", (8, 8)).save("other.jpg")
        assert "is no thumbnail" in refusal(name, "thumbnail", "c.rdo", name)
        assert rdonet("thumbnail", "c.rdo", name, "--force", "--size", "30") == (0, "", "")
        assert Image.open(name).size == (27, 30)


def test_a_thumbnail_replaces_an_empty_file_and_earlier_thumbnails(rdonet, own):
    Path("made").touch()
    cached = PngImagePlugin.PngInfo()
    cached.add_text("Thumb::URI", "file:///c.rdo")
    Image.new("RGB", (8, 8)).save("cached.png", pnginfo=cached)
    for name in ("made", "made", "cached.png"):
        assert rdonet("thumbnail", "c.rdo", name, "--size", "30") == (0, "", "")
        assert Image.open(name).size == (27, 30)


def test_a_file_that_is_none_has_no_thumbnail(refusal, folder):
    assert "no RDONet file" in refusal("a.png", "thumbnail", "a.png", "made.png")
