"""Commands compute with the cores that are idle, and files coded at a time share them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from rdonet_jax.cli import blas_threads
from rdonet_jax.codec import codec
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo
from rdonet_jax.runtime import processors
from tests.conftest import ROOT

pytestmark = pytest.mark.once


@pytest.fixture
def variables(monkeypatch):
    for name in processors.BLAS_VARIABLES:
        # Set first, so that what the test leaves behind is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def share(variables, cores: int, load: float, jobs: int) -> str:
    """The number of threads that each job gets, before NumPy is loaded."""
    variables.setattr(processors, "usable", lambda: cores)
    variables.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    variables.delitem(sys.modules, "numpy")
    blas_threads.share(jobs)
    (threads,) = {os.environ[name] for name in processors.BLAS_VARIABLES}
    return threads


@pytest.mark.parametrize(
    ("cores", "jobs", "threads"), [(8, 1, "8"), (8, 2, "4"), (2, 2, "1"), (2, 5, "1")]
)
def test_each_job_has_its_share_of_the_cores(variables, cores, jobs, threads):
    assert share(variables, cores, 0.2, jobs) == threads


@pytest.mark.parametrize(
    ("load", "jobs", "threads"), [(3.1, 1, "5"), (3.1, 2, "2"), (8.0, 1, "1"), (30.0, 2, "1")]
)
def test_cores_that_other_processes_use_are_left_to_them(variables, load, jobs, threads):
    assert share(variables, 8, load, jobs) == threads


def test_all_cores_count_as_idle_where_the_load_is_not_known(variables):
    def unknown():
        raise OSError

    variables.setattr(processors, "usable", lambda: 8)
    variables.setattr(os, "getloadavg", unknown, raising=False)
    variables.delitem(sys.modules, "numpy")
    blas_threads.share(2)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"


def test_what_the_user_has_set_stays(variables):
    variables.delitem(sys.modules, "numpy")
    variables.setenv("OPENBLAS_NUM_THREADS", "3")
    blas_threads.share(2)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_a_numpy_that_is_loaded_changes_nothing(variables):
    blas_threads.share(2)
    assert not any(name in os.environ for name in processors.BLAS_VARIABLES)


@pytest.mark.parametrize(
    ("call", "jobs"),
    [
        ("main.main(['compress', 'none.png', '--out-dir', 'none', '-j', '3'])", 3),
        ("main.main(['eval', '--nothing'])", 1),
        ("sys.argv[1:] = ['--nothing']; runpy.run_path('eval.py', run_name='__main__')", 1),
    ],
)
def test_commands_set_the_threads_before_numpy_is_loaded(call, jobs):
    """Otherwise the variables would have no effect."""
    code = (
        "import runpy, sys\n"
        "from rdonet_jax.cli import blas_threads, main\n"
        "def share(jobs=1): print(jobs, 'numpy' in sys.modules)\n"
        "blas_threads.share = share\n"
        f"{call}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == f"{jobs} False"


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "4"])
def test_files_do_not_depend_on_the_number_of_threads(threads, tmp_path, mini_weights):
    """Compared with what this process computes, however many threads it has."""
    image = np.random.default_rng(1).integers(0, 256, (200, 330, 3)).astype(np.uint8)
    srgb.save(tmp_path / "in.png", image)
    model = zoo.load(mini_weights)
    partition = codec.choose_partition(model, image, "variance")
    encoded = codec.encode(model, image, partition, engine="numpy", reconstruct=False)
    subprocess.run(
        [sys.executable, "-m", "rdonet_jax", "compress", tmp_path / "in.png", tmp_path / "out.rdo",
         "--engine", "numpy", "--model", mini_weights],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": threads},
        check=True, timeout=120, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert (tmp_path / "out.rdo").read_bytes() == encoded.data


@pytest.mark.slow
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
