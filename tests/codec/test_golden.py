"""Files that were written once, and what another process makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.models import zoo
from tests.conftest import COMPILING_ANEW, ROOT
from tests.golden import make as golden

pytestmark = pytest.mark.optimized


@pytest.fixture(scope="module")
def golden_model():
    return zoo.load(str(golden.weights_file()))


def test_golden_files_decode_to_the_symbols_that_were_once_encoded(golden_model, coder_name):
    """Written by another process, long ago: files must stay readable, with every version of JAX."""
    decoded = codec.decode(golden_model, golden.FILES[coder_name].read_bytes())
    assert golden.hashes(decoded.symbols) == json.loads(golden.SYMBOLS.read_text())
    assert all(sum(run.size for run in level) for level in decoded.symbols)


def test_the_golden_file_with_regions_decodes_to_the_symbols_that_were_once_encoded(golden_model):
    decoded = codec.decode(golden_model, golden.REGIONS.read_bytes())
    assert golden.hashes(decoded.symbols) == json.loads(golden.REGION_SYMBOLS.read_text())
    np.testing.assert_array_equal(decoded.gains, golden.GAINS)


@pytest.mark.parametrize("name", golden.images_by_form())
def test_golden_files_of_other_forms_decode_to_what_was_once_encoded(golden_model, name):
    image = golden.images_by_form()[name]
    decoded = codec.decode(golden_model, golden.form_file(name).read_bytes())
    assert golden.hashes(decoded.symbols) == json.loads(golden.FORMS.read_text())[name]
    again = decoded.content
    assert (again.icc, again.exif) == (image.icc, image.exif)
    np.testing.assert_array_equal(again.alpha, image.alpha)
    assert again.pixels.dtype == image.pixels.dtype
    assert again.pixels.shape == image.pixels.shape
    visible = image.alpha > 0
    error = again.pixels[visible] / 1.0 - image.pixels[visible]
    assert np.abs(error).mean() < np.iinfo(image.pixels.dtype).max / 10


FAST_MATH = (
    "--xla_cpu_enable_fast_math=true --xla_cpu_enable_fast_min_max=true "
    "--xla_cpu_fast_math_honor_nans=false --xla_cpu_fast_math_honor_infs=false "
    "--xla_cpu_fast_math_honor_division=false --xla_cpu_fast_math_honor_functions=false"
)

ELSEWHERE = {
    "on one thread, with fast and loose floats": {
        "XLA_FLAGS": f"{FAST_MATH} --xla_cpu_multi_thread_eigen=false",
        "ONE_CPU": "1",
    },
    "with floats of 64 bits": {"JAX_ENABLE_X64": "true"},
}

SCRIPT = """
import json, os, sys
if "ONE_CPU" in os.environ and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from pathlib import Path
from rdonet_jax.codec import codec
from rdonet_jax.models import zoo
from tests import portable_params
from tests.golden import make as golden
model = zoo.load(str(golden.weights_file()))
decoded = codec.decode(model, golden.FILES["constriction"].read_bytes())
again = codec.encode(model, decoded.image, decoded.partition, 71.3)
Path(sys.argv[1]).write_bytes(again.data)
print(json.dumps([golden.hashes(symbols) for symbols in (decoded.symbols, again.symbols)]))
"""


@pytest.mark.parametrize("where", ELSEWHERE)
def test_another_process_decodes_and_writes_the_same_symbols(golden_model, tmp_path, where):
    path = tmp_path / "again.rdo"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | COMPILING_ANEW | ELSEWHERE[where],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    decoded, encoded = json.loads(done.stdout)
    assert decoded == json.loads(golden.SYMBOLS.read_text())
    assert golden.hashes(codec.decode(golden_model, path.read_bytes()).symbols) == encoded
