"""Images whose sides are no multiples of 64: all agree about their end."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.core import partition, presets
from rdonet_jax.core.partition import STRIDES
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import network as portable
from tests import portable_params

MODEL = presets.mini()

WITHIN = 2.0
"""Decibels that the last row or column may lie below the whole image."""

SLOPES = {"smooth": 2.0, "textured": 1.2}
"""By content, how fast its spectrum falls."""


@functools.cache
def content(kind: str, seed: int) -> np.ndarray:
    """The same everywhere, but for chance: noise of a given spectrum, uint8 [224, 224, 3]."""
    rng, side = np.random.default_rng(seed), 224
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = np.inf

    def field() -> np.ndarray:
        found = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / frequency ** SLOPES[kind])
        return found.real / found.real.std()

    shared = field()
    colors = np.stack([shared + 0.2 * field() for _ in range(3)], axis=-1)
    grain = 3 * rng.normal(size=(side, side, 1))
    return np.clip(128 + 35 * colors + grain, 0, 255).astype(np.uint8)


def cut(kind: str, size: tuple[int, int], seed: int) -> np.ndarray:
    return np.ascontiguousarray(content(kind, seed)[: size[0], : size[1]])


def squares(image: np.ndarray, decoded: np.ndarray) -> tuple[float, float, float]:
    """Mean squared errors: of all pixels, of the last row, of the last column."""
    difference = np.square(image.astype(float) - decoded)
    return difference.mean(), difference[-1].mean(), difference[:, -1].mean()


def losses_at_the_end(found: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Decibels that the last row and column lie below all, in several images together."""
    whole, row, column = np.mean(found, axis=0)
    return 10 * np.log10(row / whole), 10 * np.log10(column / whole)


BATCH = 4
"""One shape of estimates for all tests, which takes long to compile."""

SOME = [
    (13, 118), (16, 115), (29, 102), (32, 99), (45, 86), (48, 83),
    (61, 70), (64, 67), (80, 51), (96, 112), (109, 22), (60, 71),
]  # fmt: skip
"""Rows and columns; positions that lie wholly outside begin 0 to 3 pixels behind most of them."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOPES)
def test_the_last_row_and_column_of_a_file_are_as_good_as_the_rest(mini_model, kind):
    losses = {}
    for size in SOME:
        found = []
        for seed in range(24):
            image = cut(kind, size, seed)
            p = codec.choose_partition(mini_model, image, "variance", 80)
            found.append(squares(image, codec.encode(mini_model, image, p, 80).image))
        losses[size] = losses_at_the_end(found)
    assert {size: loss for size, loss in losses.items() if max(loss) > WITHIN} == {}


PAIRS = [
    *((n, 65 - n) for n in range(1, 65)),
    *((n, 193 - n) for n in range(65, 129)),
    (129, 130),
    (130, 129),
]
"""Every number of rows and of columns up to 130, of as few padded sizes as there can be."""


@pytest.mark.long
@pytest.mark.parametrize("quality", [50, 80])
@pytest.mark.parametrize("kind", SLOPES)
def test_the_shipped_weights_code_every_size_as_well_at_its_end_as_elsewhere(kind, quality):
    """Four lengths at a time: a column of few pixels alone has an error by chance."""
    model, seeds = zoo.load("standard"), 6
    found: dict[int, list[tuple[float, float, float]]] = {}
    for size in PAIRS:
        images = [cut(kind, size, seed) for seed in range(seeds)]
        masks = [codec.choose_partition(model, image, "variance", quality) for image in images]
        estimates = evaluation_estimate.estimate_images(model, images, masks, seeds, quality)
        for image, each in zip(images, estimates, strict=True):
            whole, row, column = squares(image, each.decoded)
            for length, end in zip(size, (row, column), strict=True):
                found.setdefault((length - 1) // 4, []).append((whole, end, end))
    losses = {4 * four + 1: losses_at_the_end(errors)[0] for four, errors in found.items()}
    assert {length: loss for length, loss in losses.items() if loss > WITHIN} == {}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 112), (77, 109), (128, 65)])
def test_the_estimate_is_of_the_file_at_any_size(mini_model, size):
    image = cut("textured", size, 7)
    p = partition.random(jax.random.key(sum(size)), partition.block_grid(*size))
    p = partition.Partition(*map(np.asarray, p))
    encoded = codec.encode(mini_model, image, p, 60)
    estimate = evaluation_estimate.estimate_images(mini_model, [image], [p], BATCH, 60)[0]
    # The header, the partition, and the ends of three streams.
    assert 0 < len(encoded.data) - estimate.bits / 8 < 60 + 0.002 * len(encoded.data)
    # Floats of either way round otherwise, so a latent near a tie may be another symbol.
    assert np.mean(np.abs(encoded.image.astype(int) - estimate.decoded) > 1) < 0.1
    np.testing.assert_array_equal(codec.decode(mini_model, encoded.data).image, encoded.image)


@pytest.mark.slow
def test_images_of_a_batch_end_where_each_does(mini_model):
    sizes = [(65, 128), (128, 80), (112, 97), (128, 128)]
    images = [cut("textured", size, seed) for seed, size in enumerate(sizes)]
    masks = [codec.choose_partition(mini_model, image, "variance", 70) for image in images]
    together = evaluation_estimate.estimate_images(mini_model, images, masks, BATCH, 70)
    for image, p, one in zip(images, masks, together, strict=True):
        alone = evaluation_estimate.estimate_images(mini_model, [image], [p], BATCH, 70)[0]
        assert one.bits == pytest.approx(alone.bits, rel=1e-4)
        assert np.abs(one.decoded.astype(int) - alone.decoded).max() <= 1


@functools.partial(jax.jit, compiler_options=portable_params.QUICKLY)
def handed_on(params, d, coarse, fine):
    """Through two levels, with the extents of both, and to pixels."""

    def steps(network, d, coarse, fine):
        d = network.upsample(1, d, coarse)
        d = d if fine is None else jnp.where(beyond(d, fine), jnp.nan, d)
        extent = None if fine is None else 2 * fine
        return network.reconstruct(network.upsample(0, d, fine), extent)

    return portable.network(MODEL).apply({"params": params}, d, coarse, fine, method=steps)


def beyond(d, extent):
    rows, columns = (
        jnp.arange(side) >= end for side, end in zip(d.shape[1:3], extent, strict=True)
    )
    return (rows[:, None] | columns)[..., None]


@pytest.mark.parametrize("size", [(96, 112), (32, 176)])
def test_nothing_that_lies_wholly_beyond_the_end_matters(size):
    """Not even what is no number; the image is that of an array which ends there."""
    params, rng = portable_params.acting(MODEL), np.random.default_rng(0)
    coarse, fine = (np.array([partition.latent_size(n, level) for n in size]) for level in (1, 0))
    d = rng.normal(size=(1, 4, 8, MODEL.features[1])).astype(np.float32)
    alone = d[:, : coarse[0], : coarse[1]]
    disturbed = np.where(beyond(d, coarse), np.nan, d)
    found = np.asarray(handed_on(params, disturbed, coarse, fine))[0, : size[0], : size[1]]
    if np.all(2 * coarse == fine):
        expected = np.asarray(handed_on(params, alone, None, None))[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("level", "stride"), list(enumerate(STRIDES)))
def test_an_image_reaches_the_positions_that_have_a_pixel_of_it(level, stride):
    for size in range(1, 200):
        covered = len({pixel // stride for pixel in range(size)})
        assert partition.latent_size(size, level) == covered


def test_masks_on_the_device_end_where_those_on_the_host_do():
    sizes = list(itertools.product((65, 80, 81, 128), (129, 161, 192)))
    whole = tuple(np.ones((len(sizes), 128 // s, 192 // s), bool) for s in STRIDES)
    found = partition.exclude_padding(whole, jnp.asarray(sizes))
    for number, size in enumerate(sizes):
        for level, expected in enumerate(partition.inside_masks(*size)):
            np.testing.assert_array_equal(found[level][number], expected)
