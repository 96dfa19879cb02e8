"""The estimate: against real files, in batches of fixed shape, on one device and on several."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.evaluation.measures import NamedImage
from rdonet_jax.rdo.encoder import Plan
from tests.conftest import ROOT

pytestmark = [pytest.mark.once, pytest.mark.slow]


@pytest.fixture(scope="module")
def estimates(tiny_model, images) -> list[evaluation_estimate.Estimate]:
    """Each image with its variance mask, in a batch of its own."""
    return [
        evaluation_estimate.estimate_image(
            tiny_model, pixels, codec.choose_partition(tiny_model, pixels, "variance")
        )
        for _, pixels in images
    ]


@pytest.mark.parametrize("mask", codec.MASKS)
def test_a_file_is_as_large_as_the_estimate_says(tiny_model, images, mask):
    for name, pixels in images:
        p = codec.choose_partition(tiny_model, pixels, mask)
        estimated = evaluation_estimate.estimate_image(tiny_model, pixels, p).bits / 8
        size = len(codec.compress(tiny_model, pixels, p))
        assert abs(size - estimated) <= 0.005 * estimated + 100, name


def test_the_estimate_shows_the_image_that_the_decoder_gives(tiny_model, images, estimates):
    for (_, pixels), estimate in zip(images, estimates, strict=True):
        p = codec.choose_partition(tiny_model, pixels, "variance")
        decoded = codec.encode(tiny_model, pixels, p).image
        difference = np.abs(decoded.astype(int) - estimate.decoded)
        assert estimate.decoded.shape == pixels.shape
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 0.01


def test_positions_outside_the_image_are_not_counted(tiny_model, images):
    pixels = images[2].pixels
    height, width = pixels.shape[:2]
    padded = partition.pad_image(pixels)[0]
    p = partition.uniform(0, partition.block_grid(height, width))
    own = evaluation_estimate.estimate_image(tiny_model, pixels, p).bits
    with_padding = evaluation_estimate.estimate_image(tiny_model, padded, p).bits
    assert own < 0.99 * with_padding


def test_a_partition_of_another_size_is_refused(tiny_model, photograph):
    p = partition.uniform(1, (1, 1))
    with pytest.raises(partition.PartitionError, match="3x4 blocks"):
        evaluation_estimate.estimate_image(tiny_model, photograph, p)


def test_a_batch_gives_what_its_images_give_alone(tiny_model, images, estimates):
    pixels = [image.pixels for image in images[1:]]
    partitions = [codec.choose_partition(tiny_model, image, "variance") for image in pixels]
    together = evaluation_estimate.estimate_images(tiny_model, pixels, partitions, 2)
    for alone, batched in zip(estimates[1:], together, strict=True):
        assert batched.bits == pytest.approx(alone.bits, rel=1e-3)
        assert np.mean(batched.decoded != alone.decoded) < 0.01


def test_filling_up_the_last_batch_changes_nothing(tiny_model, images):
    filled_up = {r.name: (r, d) for r, d in _estimate_all(tiny_model, images)}
    full = {r.name: (r, d) for r, d in _estimate_all(tiny_model, [*images, _copy(images[0])])}
    assert len(filled_up) == 3
    for name, (row, decoded) in filled_up.items():
        assert row == full[name][0]
        np.testing.assert_array_equal(decoded, full[name][1])


def test_one_padded_size_is_compiled_once_whatever_changes(mini_model, tiny_model, images):
    def estimate(model, images, size, plan, quality=None):
        list(evaluation_estimate.estimate_all(model, images, plan, size, quality))
        return evaluation_estimate.estimate_batch.cache_size()

    compiled = estimate(mini_model, images, 1, Plan(), 50.0)
    for plan, quality in itertools.product((Plan("uniform-32"), Plan("uniform-16")), (10.0, 90.5)):
        assert estimate(mini_model, images, 1, plan, quality) == compiled
    small = NamedImage("small.png", images[0].pixels[:64, :128])
    compiled = max(estimate(tiny_model, [one], 2, Plan()) for one in (small, images[0]))
    assert estimate(tiny_model, [small, *images, small], 2, Plan("uniform-64")) == compiled


def test_bits_by_area_add_up_to_all_bits(estimates):
    for estimate in estimates:
        assert 16**2 * estimate.density.sum() == pytest.approx(estimate.bits, rel=1e-4)


ON_TWO_DEVICES = """
import sys
import numpy as np
from rdonet_jax.codec import codec
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.models import zoo
model, pixels = zoo.load(sys.argv[1]), list(np.load(sys.argv[2]))
chosen = [codec.choose_partition(model, image, "variance") for image in pixels]
found = evaluation_estimate.estimate_images(model, pixels, chosen, 3)
assert evaluation_estimate.sharing(3).mesh.size == 2
print(*(estimate.bits for estimate in found))
"""


def test_two_devices_share_a_batch_of_an_odd_number(
    tiny_weights, tiny_model, images, estimates, tmp_path
):
    np.save(tmp_path / "pixels.npy", [images[0].pixels] * 3)
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, str(tiny_weights), str(tmp_path / "pixels.npy")],
        env=os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for bits in map(float, done.stdout.split()):
        assert bits == pytest.approx(estimates[0].bits, rel=1e-3)


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=30), st.integers(1, 5)
)
def test_batches_hold_every_image_once_and_one_padded_size_each(sizes, size):
    blank = [NamedImage(str(i), np.empty((*hw, 3), np.uint8)) for i, hw in enumerate(sizes)]
    found = list(evaluation_estimate.batches(blank, size))
    assert sorted(int(p.name) for batch in found for p in batch) == list(range(len(sizes)))
    shorter = []
    for batch in found:
        grids = {partition.block_grid(*p.pixels.shape[:2]) for p in batch}
        assert len(grids) == 1
        assert 1 <= len(batch) <= size
        shorter += list(grids) if len(batch) < size else []
    assert len(shorter) == len(set(shorter))


@pytest.mark.parametrize("quality", [0.0, 62.5, 100.0])
def test_a_file_of_every_quality_is_as_large_as_the_estimate_says(mini_model, images, quality):
    image = images[0].pixels
    p = codec.choose_partition(mini_model, image, "variance", quality)
    size = len(codec.compress(mini_model, image, p, quality))
    estimate = evaluation_estimate.estimate_image(mini_model, image, p, quality)
    assert 8 * size == pytest.approx(estimate.bits, rel=0.005, abs=8 * 100)
    decoded = codec.encode(mini_model, image, p, quality).image
    # Floats of either way round otherwise, so a latent near a tie may be another symbol.
    difference = np.abs(estimate.decoded.astype(int) - decoded)
    assert np.mean(difference > 1) < 0.1
    assert np.mean(difference) < 0.5


def _estimate_all(model, images):
    return evaluation_estimate.estimate_all(model, images, Plan(), batch_size=2)


def _copy(image: NamedImage) -> NamedImage:
    return image._replace(name="copy of " + image.name)
