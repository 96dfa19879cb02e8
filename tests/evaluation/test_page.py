"""The page of the report: one file, nothing from outside, and all data in it."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.core import partition
from rdonet_jax.evaluation import curves
from rdonet_jax.evaluation.report import page
from rdonet_jax.imaging.errors import ImageError
from tests import curve_samples, page_samples

pytestmark = pytest.mark.once

VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Elements, attributes and texts; fails on elements that are not closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, text):
        place = self.open[-1] if self.open else ""
        self.texts.setdefault(place, []).append(text)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def data_of(html: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(text)


@pytest.fixture(scope="module")
def html(photograph) -> str:
    return page.html(page_samples.curves(), page_samples.images(photograph), "jpeg")


def test_the_page_is_well_formed_and_every_label_has_its_field(html):
    elements = read(html).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    assert dict(elements)["html"] == {"lang": "en"}


def test_the_page_asks_for_nothing_from_outside(html):
    for tag, attributes in read(html).elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", html.replace(data_text(html), ""))
    assert set(outside) <= {"http://www.w3.org"}  # the name of SVG's elements, which is not fetched
    assert "@import" not in html and "url(" not in html
    assert "default-src 'none'" in html


def data_text(html: str) -> str:
    return re.findall(r'id="data">(.*?)</script>', html, re.S)[0]


def test_text_from_outside_cannot_end_the_script(html):
    assert html.count("</script>") == 2
    names = [curve["name"] for curve in data_of(html)["curves"]]
    assert names[2] == "</script><b>&"
    assert "<i>" not in html


def test_all_points_of_all_curves_are_in_the_page(html):
    for curve, stored in zip(page_samples.curves(), data_of(html)["curves"], strict=True):
        assert stored["description"] == curve.description
        assert [p["bpp"] for p in stored["points"]] == [p.mean.bpp for p in curve.points]
        assert [p["values"] for p in stored["points"]] == [p.mean.quality for p in curve.points]
        decibels = [-10 * np.log10(1 - p.mean.quality["ms_ssim"]) for p in curve.points]
        assert [p["on_curve"]["ms_ssim"] for p in stored["points"]] == pytest.approx(decibels)


def test_rates_are_relative_to_the_reference_for_every_other_curve_and_metric(html):
    pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")
    rates = data_of(html)["rates"]
    assert rates["reference"] == "JPEG"
    assert [(r["label"], r["metric"]) for r in rates["rows"]] == [
        ("ours", "PSNR"), ("ours", "MS-SSIM"),
        ("</script><b>&", "PSNR"), ("</script><b>&", "MS-SSIM"),
    ]  # fmt: skip
    for row, percent in zip(rates["rows"], (-40, -40, 50, 50), strict=True):
        for kind in ("set", "best", "worst", "average"):
            assert row[kind] == pytest.approx(percent)
        assert (row["images"], row["refused"]) == (2, {})


def test_refused_rates_are_listed_in_the_page_by_name():
    pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")
    few = curve_samples.curve("few", rates=(0.1, 0.2))
    (row, _) = data_of(page.html([curve_samples.curve("jpeg"), few]))["rates"]["rows"]
    assert row["set"] is None
    assert set(row["refused"]) == {"a.png", "b.png", "set"}


def test_a_chart_has_the_rate_of_the_images_that_have_its_metric_and_the_table_that_of_all():
    pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")
    reference = curve_samples.curve("jpeg")
    first, *others = reference.points
    rows = [first.rows[0]._replace(bpp=0.9, quality={"psnr": 30.0, "ms_ssim": None}), first.rows[1]]
    partial = reference._replace(name="ours", points=(curves.point(None, rows), *others))
    data = data_of(page.html([reference, partial]))
    point = data["curves"][1]["points"][0]
    assert point["bpp"] == pytest.approx(0.5)
    assert point["on_chart"]["psnr"][0] == pytest.approx(0.5)
    assert point["on_chart"]["ms_ssim"][0] == first.rows[1].bpp
    left_out = {row["metric"]: row["left_out"] for row in data["rates"]["rows"]}
    assert left_out["MS-SSIM"] == ["1 of 2 images, without MS-SSIM at some point"]


def test_images_are_stored_without_losses(html, photograph):
    for shown, stored in zip(page_samples.images(photograph), data_of(html)["images"], strict=True):
        assert (stored["width"], stored["height"]) == (128, 64)
        sources = [stored["original"], *(v["src"] for v in stored["versions"])]
        arrays = [shown.original, *(v.image for v in shown.versions)]
        for source, array in zip(sources, arrays, strict=True):
            kind, _, text = source.partition(",")
            assert kind == "data:image/webp;base64"
            image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), array)


def test_images_that_would_take_too_much_are_stored_smaller_and_the_page_says_so(
    photograph, monkeypatch
):
    images = page_samples.images(photograph)
    whole = page.html(page_samples.curves(), images)
    monkeypatch.setattr(page, "MOST_IMAGE_BYTES", 1000)
    small = page.html(page_samples.curves(), images)
    assert "slight losses" in data_of(small)["viewer_note"]
    assert "slight losses" not in data_of(whole)["viewer_note"]
    assert len(small) < len(whole)


def test_blocks_tile_the_padded_image_and_keep_all_bits():
    blocks = page.blocks(page_samples.LEVELS, page_samples.DENSITY)
    seen = np.zeros((64, 128), int)
    for x, y, side, level, _ in blocks:
        assert side == partition.STRIDES[level]
        seen[y : y + side, x : x + side] += 1
    assert (seen == 1).all()
    assert sorted(side for _, _, side, _, _ in blocks) == [16] * 8 + [32] * 2 + [64]
    total = sum(density * side**2 for _, _, side, _, density in blocks)
    assert total == pytest.approx(256 * page_samples.DENSITY.sum(), rel=1e-3)


def test_without_a_name_the_reference_is_the_first_codec_of_others():
    data = data_of(page.html(page_samples.curves()))
    assert data["rates"]["reference"] == "JPEG"
    with pytest.raises(curves.CurveError, match="no curve 'vvc'"):
        page.html(page_samples.curves(), reference="vvc")
    with pytest.raises(curves.CurveError, match="at least one curve"):
        page.html([])


def test_one_curve_alone_has_no_rates_and_no_viewer():
    data = data_of(page.html([curve_samples.curve("ours")]))
    assert data["rates"] is None
    assert data["images"] == []


def test_the_command_line_writes_the_page_from_stored_results(tmp_path, capsys):
    curves.write(tmp_path / "all.json", page_samples.curves()[:2])
    arguments = ["--results", str(tmp_path / "all.json"), "--report", str(tmp_path / "out.html")]
    assert eval_command.main(arguments) == 0
    read((tmp_path / "out.html").read_text())
    assert eval_command.main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    assert eval_command.main([*arguments, "--force"]) == 0
    with pytest.raises(ImageError):
        page.write(tmp_path / "none" / "out.html", page_samples.curves())


def test_curves_of_one_label_are_shown_by_their_names():
    same = {"label": "JPEG"}
    found = [
        curve_samples.curve(name)._replace(settings=settings)
        for name, settings in (("jpeg", same), ("jpeg (2)", same), ("webp", {"label": "WebP"}))
    ]
    data = data_of(page.html(found, reference="jpeg"))
    assert [curve["label"] for curve in data["curves"]] == ["jpeg", "jpeg (2)", "WebP"]
    assert data["rates"]["reference"] == "jpeg"
    assert {row["label"] for row in data["rates"]["rows"]} == {"jpeg (2)", "WebP"}


def test_names_that_are_not_utf8_are_in_the_page(tmp_path):
    page.write(tmp_path / "page.html", [curve_samples.curve("caf\udce9"), curve_samples.curve("b")])
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert data_of(written)["curves"][0]["name"] == "caf\udce9"


def test_an_image_that_webp_cannot_hold_is_stored_as_png(photograph):
    (example,) = page_samples.images(photograph)[:1]
    long = np.zeros((16, 16400, 3), np.uint8)
    levels = np.zeros((4, 1028), np.uint8)
    example = example._replace(
        original=long, versions=(), levels=levels, density=levels.astype(np.float32)
    )
    (shown,) = data_of(page.html([curve_samples.curve("ours")], [example]))["images"]
    kind, _, content = shown["original"].partition(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (16400, 16)
