"""Figures: files that hold every curve, the same bytes each time, and what is refused."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from rdonet_jax.evaluation.report import plots
from rdonet_jax.evaluation.report.plots import PlotError
from rdonet_jax.imaging.errors import ImageError
from tests import curve_samples

pytestmark = pytest.mark.once


@pytest.fixture
def curves():
    pytest.importorskip("matplotlib", reason="needs the package matplotlib")
    return [curve_samples.curve("ours", 0.5), curve_samples.curve("jpeg")]


def test_a_figure_is_written_as_png_and_as_svg(curves, tmp_path):
    plots.rate_distortion(tmp_path / "a.png", curves)
    plots.rate_distortion(tmp_path / "a.svg", curves)
    assert Image.open(tmp_path / "a.png").format == "PNG"
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_the_same_curves_give_the_same_svg(curves, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        plots.rate_distortion(tmp_path / folder / "a.svg", curves)
    assert (tmp_path / "one/a.svg").read_bytes() == (tmp_path / "two/a.svg").read_bytes()


def test_rate_over_quality_needs_qualities(curves, tmp_path):
    plots.over_quality(tmp_path / "a.svg", curves[0])
    bare = curves[0]._replace(points=tuple(p._replace(quality=None) for p in curves[0].points))
    with pytest.raises(PlotError, match="ours has no qualities to plot over"):
        plots.over_quality(tmp_path / "b.svg", bare)


def test_other_formats_and_existing_files_are_refused(curves, tmp_path):
    with pytest.raises(PlotError, match=r"a\.pdf: figures are written as \.png or \.svg"):
        plots.rate_distortion(tmp_path / "a.pdf", curves)
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageError, match="exists already"):
        plots.rate_distortion(tmp_path / "a.png", curves)


def test_a_missing_matplotlib_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match="need the package matplotlib"):
        plots.rate_distortion(tmp_path / "a.png", [curve_samples.curve("ours")])


def test_every_name_is_in_the_legend_as_it_is(curves, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the package matplotlib")
    names = ["_mine", "cost$_$", "$5"]
    shown = [curves[0]._replace(name=name) for name in names]
    plots.rate_distortion(tmp_path / "a.svg", shown)
    written = (tmp_path / "a.svg").read_text()
    for name in names:
        assert name in written
