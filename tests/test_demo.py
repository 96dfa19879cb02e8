"""The demo as a user without the bundled images meets it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rdonet_jax.imaging import srgb
from tests.conftest import ROOT

pytestmark = pytest.mark.once

SCRIPT = ROOT / "examples" / "demo.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch, photograph):
    monkeypatch.chdir(tmp_path)
    for place in ("in", "in/deeper"):
        Path(place).mkdir()
        srgb.save(f"{place}/a.png", photograph[:100, :90])
    return tmp_path


def test_the_demo_leaves_three_files_and_a_line_per_image(demo, folder, capsys, tiny_weights):
    assert demo.main(["in/a.png", "--out", "out", "--model", str(tiny_weights)]) == 0
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"a.rdo", "a.png", "a-comparison.png"}
    size = Path("out/a.rdo").stat().st_size
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    (row,) = (line for line in lines if line[:1] == ["a"])
    assert row[1:4] == ["90x100", str(size), f"{8 * size / 9000:.3f}"]
    assert row[5] == "-"  # too small for MS-SSIM
    assert ["mean", row[3]] in [line[:2] for line in lines]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["none.png"], "none.png: cannot be read: No such file"),
        (["in/a.png", "--model", "nobody"], "no model 'nobody'"),
        (["in/a.png", "in/deeper/a.png"], "in/deeper/a.png: a second image called a"),
        (["in/a.png", "--out", "in"], "in/a.png: lies in in"),
    ],
)
def test_errors_are_reported_in_one_line(demo, folder, capsys, tiny_weights, arguments, cause):
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert demo.main(["--out", "out", "--model", str(tiny_weights), *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"demo.py: {cause}")
    assert before == {path: path.read_bytes() for path in folder.rglob("*.png")}
