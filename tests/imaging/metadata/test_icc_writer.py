"""Profiles made from primaries and a curve, as LittleCMS interprets them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from rdonet_jax.imaging.metadata import cicp, icc, icc_writer
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.icc_writer import BT709_POINTS, D65, SRGB_CURVE

pytestmark = pytest.mark.once

SRGB = ImageCms.createProfile("sRGB")


def shown(profile, color, mode="RGB"):
    """What a color of the profile is in sRGB."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(source, SRGB, mode, "RGB")
    return ImageCms.applyTransform(Image.new(mode, (1, 1), color), transform).getpixel((0, 0))


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2, 2.8])
def test_gray_is_as_light_as_its_gamma_requires(gamma):
    light = (128 / 255) ** gamma
    level = 255 * (1.055 * light ** (1 / 2.4) - 0.055)  # by the definition of sRGB
    rgb = icc_writer.profile("a", (gamma,), BT709_POINTS, D65)
    gray = icc_writer.profile("a", (gamma,), BT709_POINTS, D65, gray=True)
    for found in (shown(rgb, (128,) * 3), shown(gray, 128, "L")):
        assert np.abs(np.array(found) - level).max() <= 1


def test_the_numbers_of_srgb_make_srgb():
    profile = icc_writer.profile("a", SRGB_CURVE, BT709_POINTS, D65)
    assert icc.is_srgb(profile, "RGB")


def test_display_p3_has_the_colorants_that_its_makers_publish():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(cicp.as_icc(Cicp(12, 13), gray=False)))
    published = [
        (0.51512, 0.2412, -0.00105),
        (0.29198, 0.69225, 0.04189),
        (0.1571, 0.06657, 0.78407),
    ]
    colorants = ("red_colorant", "green_colorant", "blue_colorant")
    for name, expected in zip(colorants, published, strict=True):
        np.testing.assert_allclose(getattr(profile.profile, name)[0], expected, atol=2e-4)
    assert ImageCms.getProfileDescription(profile).strip() == "Display P3 with sRGB"


@pytest.mark.parametrize("points, white", [
    ([(0.3, 0.3), (0.4, 0.4), (0.5, 0.5)], D65), (BT709_POINTS, (0.3, 0.0)),
    (BT709_POINTS, (0.9, 0.9)), ([(0.0, 0.0)] * 3, D65),
    ([(9e3, 1e4), (1e4, 9e3), (3e3, 1.0)], D65),
])  # fmt: skip
def test_points_that_mean_no_colors_are_refused(points, white):
    with pytest.raises(icc_writer.ColorError):
        icc_writer.profile("a", (1.0,), points, white)


@pytest.mark.parametrize(
    "named", [Cicp(9, 16), Cicp(9, 18), Cicp(2, 13), Cicp(1, 2), Cicp(1, 13, False)]
)
def test_color_spaces_that_no_profile_can_express_have_none(named):
    assert cicp.as_icc(named, gray=False) == b""


@pytest.mark.parametrize("primaries", [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22])
@pytest.mark.parametrize("transfer", [1, 4, 5, 6, 8, 13, 14, 15])
def test_all_others_have_one_in_which_white_is_white(primaries, transfer):
    profile = cicp.as_icc(Cicp(primaries, transfer), gray=False)
    assert min(shown(profile, (255, 255, 255))) >= 254
