"""The screenshots on which fine-tuning is tried: the same from the same seed, and all different."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.fine_tuning import screenshots
from rdonet_jax.imaging import srgb

pytestmark = pytest.mark.once


def test_screenshots_are_those_of_their_seed_and_unlike_each_other(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        screenshots.write(tmp_path / name, 3, seed)
    images = {name: [srgb.load(tmp_path / name / f"00{n}.png") for n in range(3)] for name in "abc"}
    for ours, same, other in zip(*images.values(), strict=True):
        np.testing.assert_array_equal(ours, same)
        assert ours.shape[1::-1] in screenshots.SIZES
        assert ours.shape != other.shape or (ours != other).any()
        # Flat areas, and edges of full contrast: not what a photograph has.
        steps = np.abs(np.diff(ours.astype(int), axis=1)).max(axis=2)
        assert (steps == 0).mean() > 0.5 and steps.max() > 100


def test_a_folder_that_exists_is_left_alone(tmp_path):
    with pytest.raises(FileExistsError):
        screenshots.write(tmp_path, 1, 0)
