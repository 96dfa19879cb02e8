import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax import visualize
from rdonet_jax.core import partition

pytestmark = pytest.mark.once

HAS_RED_AND_GREEN = {0: (True, False), 1: (True, True), 2: (False, True)}


def sample_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(height, width, gray=128):
    return np.full((height, width, 3), gray, np.uint8)


def random_levels(height, width, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = -(-height // 64), -(-width // 64)
    whole = np.kron(rng.random((rows, columns)) < 1 / 3, np.ones((4, 4), bool))
    halves = np.kron(rng.random((2 * rows, 2 * columns)) < 1 / 2, np.ones((2, 2), bool))
    return np.where(whole, 2, np.where(halves, 1, 0)).astype(np.uint8)


def by_pixel(areas, height, width):
    """The values of areas of 16x16 pixels, for each pixel."""
    return areas.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]


def lines_of(levels, height, width):
    """Where the top row and the left column of a block are, [height, width]."""
    sides = 16 * 2 ** by_pixel(levels, height, width).astype(int)
    return (np.arange(height)[:, None] % sides == 0) | (np.arange(width) % sides == 0)


def uniform_levels(height, width, level):
    return np.full((-(-height // 64) * 4, -(-width // 64) * 4), level, np.uint8)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_blocks_are_red_yellow_and_green_from_fine_to_coarse(level):
    for gray in (0, 128, 255):
        drawn = visualize.draw_mask(flat(64, 64, gray), uniform_levels(64, 64, level))
        red, green, blue = drawn[8, 8].astype(int)
        for channel, is_strong in zip((red, green), HAS_RED_AND_GREEN[level], strict=True):
            assert (channel > blue + 30) == is_strong


@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 150), width=st.integers(1, 150), seed=st.integers(0, 99))
def test_every_block_is_outlined_by_one_line_at_its_top_and_left(height, width, seed):
    levels = random_levels(height, width, seed)
    drawn = visualize.draw_mask(flat(height, width), levels)
    inside = [visualize.draw_mask(flat(64, 64), uniform_levels(64, 64, k))[8, 8] for k in range(3)]
    expected = np.array(inside)[by_pixel(levels, height, width)]
    differs = np.any(drawn != expected, axis=-1)
    np.testing.assert_array_equal(differs, lines_of(levels, height, width))


def test_the_image_shows_through_the_blocks():
    image = sample_image(64, 64)
    image[20:30, 20:30], image[40:50, 20:30] = 0, 255
    drawn = visualize.draw_mask(image, uniform_levels(64, 64, 2)).astype(int)
    assert drawn[40:50, 20:30].mean() > drawn[20:30, 20:30].mean() + 80


@pytest.mark.parametrize("size", [(1, 1), (17, 300), (64, 64), (65, 63)])
def test_a_drawn_mask_has_the_size_of_its_image(size):
    drawn = visualize.draw_mask(sample_image(*size), random_levels(*size))
    assert drawn.shape == (*size, 3) and drawn.dtype == np.uint8


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64, 3), np.uint16),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
    ],
    ids=["16 bits", "floats", "gray", "with alpha"],
)
def test_images_that_are_not_8_bit_rgb_are_refused(image):
    levels = uniform_levels(64, 64, 0)
    with pytest.raises(ValueError, match=r"uint8 \[height, width, 3\], not (u?int|float)"):
        visualize.draw_mask(image, levels)
    for pair in (image, image), (sample_image(64, 64), image):
        with pytest.raises(ValueError, match=f"not {image.dtype} "):
            visualize.comparison(*pair, levels)


def test_a_level_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="64 x 65 pixels has a level map of 4 x 8"):
        visualize.draw_mask(sample_image(64, 65), uniform_levels(64, 64, 0))
    with pytest.raises(ValueError, match="level map of 4 x 4"):
        visualize.comparison(sample_image(64, 64), sample_image(64, 64), uniform_levels(64, 65, 0))


def test_a_level_map_that_is_no_quadtree_is_refused():
    levels = uniform_levels(64, 64, 2)
    levels[0, 0] = 0
    with pytest.raises(partition.PartitionError):
        visualize.draw_mask(sample_image(64, 64), levels)


def test_images_of_different_size_are_not_compared():
    with pytest.raises(ValueError, match=r"\[64, 64, 3\] but the decoded image \[64, 63, 3\]"):
        visualize.comparison(sample_image(64, 64), sample_image(64, 63), uniform_levels(64, 64, 0))


def test_original_decoded_and_mask_are_side_by_side_unscaled():
    original, decoded = sample_image(400, 500, 1), sample_image(400, 500, 2)
    levels = random_levels(400, 500)
    sheet = visualize.comparison(original, decoded, levels)
    mask = visualize.draw_mask(original, levels)
    step = 500 + visualize.MARGIN
    for i, panel in enumerate((original, decoded, mask)):
        left = visualize.MARGIN + i * step
        shown = sheet[visualize.MARGIN : visualize.MARGIN + 400, left : left + 500]
        np.testing.assert_array_equal(shown, panel)


def test_wide_images_are_stacked():
    sheet = visualize.comparison(
        sample_image(64, 640), sample_image(64, 640), uniform_levels(64, 640, 1)
    )
    assert sheet.shape[1] < 3 * 640


@pytest.mark.parametrize("size", [(1, 1), (17, 300), (300, 17), (1, 3000), (3000, 1), (1500, 2100)])
def test_images_of_every_size_give_a_sheet_of_moderate_size(size):
    sheet = visualize.comparison(
        sample_image(*size), sample_image(*size), random_levels(*size), "name", "text"
    )
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert 100 < sheet.shape[0] < 4500 and 400 < sheet.shape[1] < 2500


def test_the_legend_shows_all_three_colors_whatever_the_mask():
    sheet = visualize.comparison(flat(128, 128), flat(128, 128), uniform_levels(128, 128, 2))
    for color in visualize.LEVEL_COLORS:
        assert (sheet == np.array(color)).all(axis=-1).sum() > 100


def test_name_caption_and_legend_are_below_their_images():
    gray, levels = flat(400, 500), uniform_levels(400, 500, 2)
    half = levels.copy()
    half[:, :16] = 0
    sheet = visualize.comparison(gray, gray, levels, "name", "text")
    others = (
        visualize.comparison(gray, gray, levels, "other", "text"),
        visualize.comparison(gray, gray, levels, "name", "more"),
        visualize.comparison(gray, gray, half, "name", "text"),
    )
    changes = [(sheet != other)[visualize.MARGIN + 400 :].any(axis=(0, 2)) for other in others]
    for i, changed in enumerate(changes):
        columns = np.flatnonzero(changed)
        left = visualize.MARGIN + i * (500 + visualize.MARGIN)
        assert left <= columns.min() and columns.max() < left + 500


def test_a_caption_gives_rate_and_quality_with_their_units():
    assert visualize.quality_caption(0.41234, 31.256) == "0.412 bpp · 31.26 dB PSNR"
    assert (
        visualize.quality_caption(0.4, 31.0, 0.98765)
        == "0.400 bpp · 31.00 dB PSNR · 0.9877 MS-SSIM"
    )


def luma(colors):
    return colors @ np.array(partition.LUMA)


def test_more_bits_are_brighter_and_equal_ratios_are_equal_steps():
    density = 2.0 ** np.linspace(-6, 2, 200)
    brightness = luma(visualize.bits_colors(density))
    steps = np.diff(brightness)
    assert steps.min() > 0
    assert steps.max() < 1.1 * steps.mean()


def test_the_scale_of_bits_is_fixed_and_ends_at_a_64th_and_at_4_bits_per_pixel():
    colors = visualize.bits_colors(np.array([0, 1 / 1000, 1 / 64, 1 / 8, 1, 4, 100]))
    expected = [visualize.BITS_COLORS[i] for i in (0, 0, 0, 3, 6, 8, 8)]
    np.testing.assert_allclose(colors, expected, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 150), width=st.integers(1, 150), seed=st.integers(0, 99))
def test_every_16x16_area_has_the_color_of_its_bits_inside_outlined_blocks(height, width, seed):
    levels = random_levels(height, width, seed)
    density = np.random.default_rng(seed).uniform(0, 5, levels.shape).astype(np.float32)
    drawn = visualize.draw_bits(density, levels, (height, width))
    assert drawn.shape == (height, width, 3) and drawn.dtype == np.uint8
    expected = np.round(visualize.bits_colors(density)).astype(np.uint8)
    differs = np.any(drawn != by_pixel(expected, height, width), axis=-1)
    np.testing.assert_array_equal(differs, lines_of(levels, height, width))


def test_bits_that_do_not_fit_their_image_are_refused():
    levels = uniform_levels(64, 64, 0)
    with pytest.raises(ValueError, match="64 x 65 pixels has a level map of 4 x 8"):
        visualize.draw_bits(np.ones((4, 4)), levels, (64, 65))
    with pytest.raises(ValueError, match=r"level map is \[4, 4\] but the bits are \[2, 4\]"):
        visualize.draw_bits(np.ones((2, 4)), levels, (64, 64))


def test_the_legend_of_bits_shows_each_color_over_its_label():
    legend = visualize.draw_bits_scale()
    strip, labels = legend[0], legend[visualize.SCALE_HEIGHT :]
    for i, color in enumerate(visualize.BITS_COLORS):
        part = slice(i * visualize.SCALE_STEP, (i + 1) * visualize.SCALE_STEP)
        np.testing.assert_array_equal(strip[part][visualize.SCALE_STEP // 2], color)
        assert (labels[:, part] != visualize.PAPER).any()
