"""Images for the report: what is shown is what files hold, and anchors come at the same rate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.evaluation.measures import EvaluationError
from rdonet_jax.evaluation.report import showcase
from rdonet_jax.evaluation.report.showcase import ShowcaseOptions


@pytest.fixture(scope="module")
def example(folder, tiny_weights):
    options = ShowcaseOptions([folder], str(tiny_weights), anchors=["jpeg", "webp"], count=1)
    (one,) = showcase.images(options)
    return one


@pytest.mark.slow
def test_the_first_image_is_shown_as_its_file_decodes(example, images, tiny_model):
    original = images[0].pixels
    chosen = codec.choose_partition(tiny_model, original, "variance")
    encoded = codec.encode(tiny_model, original, chosen)
    ours = example.versions[0]
    assert (example.name, ours.name, ours.size) == ("a.png", tiny_model.name, len(encoded.data))
    np.testing.assert_array_equal(ours.image, encoded.image)
    np.testing.assert_array_equal(example.levels, partition.level_map(chosen))
    height, width = original.shape[:2]
    assert example.shares == partition.block_shares(chosen, height, width)


@pytest.mark.slow
def test_anchors_come_at_about_the_same_size(example):
    ours, *others = example.versions
    assert [version.name for version in others] == ["JPEG", "WebP"]
    for version in others:
        assert version.size == pytest.approx(ours.size, rel=0.1)
        assert version.setting.startswith("quality ")


@pytest.mark.slow
def test_the_bits_of_all_blocks_are_those_of_the_file(example):
    bits = 256 * example.density.sum()
    assert 8 * example.versions[0].size == pytest.approx(bits, rel=0.005, abs=8 * 100)


def test_the_number_of_images_is_not_negative(folder, tiny_weights):
    assert showcase.images(ShowcaseOptions([folder], str(tiny_weights), count=0)) == []
    with pytest.raises(EvaluationError, match="images to show is not -1"):
        ShowcaseOptions([folder], str(tiny_weights), count=-1)


def test_one_call_measures_and_reports(folder, tiny_weights, tmp_path):
    arguments = ["--data", folder, "--model", tiny_weights, "--estimate", "--batch-size", "1"]
    arguments += ["--report", tmp_path / "out.html", "--report-images", "1"]
    assert eval_command.main([str(argument) for argument in arguments]) == 0
    html = (tmp_path / "out.html").read_text()
    data = json.loads(html.partition('id="data">')[2].partition("</script>")[0])
    assert [curve["estimate"] for curve in data["curves"]] == [True]
    assert [image["name"] for image in data["images"]] == ["a.png"]
    assert [version["name"] for version in data["images"][0]["versions"]] == ["tiny"]
