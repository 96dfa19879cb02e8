"""The example of a region of interest, as a user starts it."""

from __future__ import annotations

import importlib.util
import re

import pytest

from rdonet_jax.imaging import srgb
from tests.conftest import ROOT

pytestmark = pytest.mark.once

BOX = ["--box", "64,64,64,64"]


@pytest.fixture(scope="module")
def example():
    path = ROOT / "examples" / "regions.py"
    spec = importlib.util.spec_from_file_location("regions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path, photograph):
    model = next((ROOT / "tests" / "golden").glob("mini-*.safetensors"))
    srgb.save(tmp_path / "a.png", photograph[:200, :230])
    return ["--image", str(tmp_path / "a.png"), *BOX, "--quality", "60", "--gain", "30",
            "--model", str(model), "--out", str(tmp_path / "figure.png")]  # fmt: skip


def test_the_region_gets_better_and_the_rest_worse_in_a_file_of_the_same_size(
    example, arguments, tmp_path, capsys
):
    pytest.importorskip("matplotlib")
    example.main(arguments)
    plain, region = (
        [float(number) for number in re.findall(r"[\d.]+", line)]
        for line in capsys.readouterr().out.splitlines()
    )
    assert region[0] <= plain[0]
    assert region[1] > plain[1]
    assert region[2] < plain[2]
    assert srgb.load(tmp_path / "figure.png").shape[2] == 3


def test_a_box_beyond_the_image_ends_it_with_one_sentence(example, arguments):
    beyond = ["300,64,64,64" if value == BOX[1] else value for value in arguments]
    with pytest.raises(SystemExit, match=r"^regions\.py: [^\n]+$"):
        example.main(beyond)
