"""The registered metrics of decoded images."""

import subprocess
import sys

import numpy as np

from rdonet_jax.metrics import distortion, quality


def test_an_image_of_the_smallest_side_has_an_ms_ssim_and_a_smaller_one_has_none():
    assert distortion.smallest_side() == quality.MS_SSIM_SMALLEST
    image = np.random.default_rng(0).integers(0, 256, (161, 170, 3), np.uint8)
    assert 0.9 < quality.ms_ssim(image, image ^ 1) < 1
    assert quality.ms_ssim(image[:160], image[:160] ^ 1) is None


def test_naming_metrics_loads_no_jax():
    program = "import sys, rdonet_jax.rdo.targets; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
