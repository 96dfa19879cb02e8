"""The commands that widen networks: mistakes are one sentence, which names the file."""

from __future__ import annotations

import pytest
from PIL import Image

from experiments.widening import __main__ as widening
from experiments.widening import coarser, restored

pytestmark = pytest.mark.once


@pytest.fixture
def complaint(capsys):
    """The one line of a command that cannot do what it was asked for."""

    def complaint(command, *arguments) -> str:
        assert command.main([*map(str, arguments)]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    return complaint


@pytest.fixture
def small_images(tmp_path):
    """A folder whose only image is too small for a crop."""
    (tmp_path / "small").mkdir()
    Image.new("RGB", (300, 255)).save(tmp_path / "small" / "a.png")
    return tmp_path / "small"


@pytest.fixture
def weights(mini_weights, tmp_path):
    """A model and where to write: `--model FILE --out FOLDER`."""
    return ("--model", mini_weights, "--out", tmp_path / "out")


def test_a_folder_that_is_not_there_is_named(complaint, weights, tmp_path):
    missing = tmp_path / "missing"
    assert complaint(widening, missing, *weights) == f"widening: {missing}: no such folder\n"


def test_a_folder_without_an_image_for_a_crop_is_named_before_anything_is_fitted(
    complaint, weights, small_images, photograph_folder, monkeypatch
):
    monkeypatch.setattr(widening.fitting, "fit", None)
    expected = f"{small_images}: no image has 256 pixels on both sides\n"
    assert complaint(widening, small_images, *weights) == f"widening: {expected}"
    more = ("--validation", small_images)
    assert complaint(widening, photograph_folder, *weights, *more) == f"widening: {expected}"


def test_networks_that_do_not_fit_are_named(
    complaint, weights, mini_weights, tiny_weights, tmp_path, small_images
):
    out = ("--out", tmp_path / "out")
    fewer = complaint(widening, small_images, *weights, "--knots", 2)
    assert fewer == f"widening: {mini_weights}: the network has 6 knots already\n"
    for command, given in (
        (widening, [small_images, "--model", tiny_weights]),
        (coarser, [small_images, "--model", tiny_weights]),
        (restored, [tiny_weights, mini_weights, "--old", mini_weights]),
    ):
        assert f"{tiny_weights}: is no portable network" in complaint(command, *given, *out)
    said = complaint(coarser, small_images, *weights)
    assert f"{mini_weights}: is no network that was widened" in said
    said = complaint(restored, mini_weights, mini_weights, "--old", mini_weights, *out)
    assert said.startswith(f"restored: {mini_weights}: a network with a trunk of")


def test_weights_that_there_are_not_are_named(complaint, small_images, tmp_path):
    for command in (widening, coarser):
        said = complaint(command, small_images, "--model", "nowhere", "--out", tmp_path / "out")
        assert "no model 'nowhere'" in said
