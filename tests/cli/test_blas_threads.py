"""Files that are coded at a time share the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from rdonet_jax.cli import blas_threads
from rdonet_jax.imaging import srgb
from tests.conftest import ROOT


@pytest.fixture
def variables(monkeypatch):
    for name in blas_threads.VARIABLES:
        # Set first, so that what the test leaves behind is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(("cores", "jobs", "threads"), [(8, 2, "4"), (2, 2, "1"), (2, 5, "1")])
def test_each_job_has_its_share_of_the_cores(variables, cores, jobs, threads):
    variables.setattr(blas_threads, "_cores", lambda: cores)
    variables.delitem(sys.modules, "numpy")
    blas_threads.share(jobs)
    assert {os.environ[name] for name in blas_threads.VARIABLES} == {threads}


def test_what_the_user_has_set_stays(variables):
    variables.delitem(sys.modules, "numpy")
    variables.setenv("OPENBLAS_NUM_THREADS", "3")
    blas_threads.share(2)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_one_job_and_a_numpy_that_is_loaded_change_nothing(variables):
    blas_threads.share(2)
    variables.delitem(sys.modules, "numpy")
    blas_threads.share(1)
    assert not any(name in os.environ for name in blas_threads.VARIABLES)


def test_files_are_the_same_however_many_are_coded_at_a_time(tmp_path, mini_weights):
    rng = np.random.default_rng(0)
    for number in range(3):
        srgb.save(tmp_path / f"{number}.png", rng.integers(0, 256, (70, 90, 3)).astype(np.uint8))
    for jobs in ("1", "3"):
        subprocess.run(
            [sys.executable, "-m", "rdonet_jax", "compress", *sorted(tmp_path.glob("*.png")),
             "--out-dir", tmp_path / jobs, "-j", jobs, "--model", mini_weights],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120, text=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    names = [path.name for path in sorted((tmp_path / "1").iterdir())]
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()
