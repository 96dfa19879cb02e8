"""Entries for file managers."""

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
from PIL import Image

from rdonet_jax.cli.commands import desktop
from rdonet_jax.codec import bitstream
from tests.conftest import ROOT


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
