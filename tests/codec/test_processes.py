"""Files outlive the process that wrote them: another one gives the same image."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.imaging import srgb
from tests.conftest import COMPILING_ANEW, ROOT

pytestmark = pytest.mark.optimized

ON_ONE_CPU = """
import os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def encoded(tiny_model, photograph):
    return codec.encode(
        tiny_model, photograph, codec.choose_partition(tiny_model, photograph, "variance")
    )


def decompressed_elsewhere(folder, encoded, weights, prefix=()):
    """The image that a fresh `rdonet decompress` makes of the file."""
    (folder / "a.rdo").write_bytes(encoded.data)
    command = ["-m", "rdonet_jax", "decompress", "a.rdo", "a.png", "--model", str(weights)]
    done = subprocess.run(
        [sys.executable, *prefix, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | COMPILING_ANEW,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return srgb.load(folder / "a.png")


@pytest.mark.slow
def test_a_fresh_process_gives_the_image_that_the_encoder_saw(tmp_path, encoded, tiny_weights):
    image = decompressed_elsewhere(tmp_path, encoded, tiny_weights)
    np.testing.assert_array_equal(image, encoded.image)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="sums depend on the number of CPUs")
def test_a_process_with_one_cpu_gives_the_same_image(tmp_path, encoded, tiny_weights):
    image = decompressed_elsewhere(tmp_path, encoded, tiny_weights, ("-c", ON_ONE_CPU))
    np.testing.assert_array_equal(image, encoded.image)
