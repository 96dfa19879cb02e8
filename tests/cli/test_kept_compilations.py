"""What JAX compiles for a command is kept for the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rdonet_jax.cli import libraries
from rdonet_jax.imaging import srgb
from tests.conftest import ROOT

where_programs_are_kept = pytest.mark.skipif(
    jax.__version_info__ < (0, 6), reason="JAX before 0.6 keeps no programs"
)

CACHE_VARIABLES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """An environment that says nothing about compiled code, put back afterwards."""
    for name in CACHE_VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_compiled_code_is_kept_below_the_users_folder_for_caches(no_cache):
    libraries.remember_compilations()
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder.is_dir()
    assert folder.parent == no_cache / "rdonet_jax"
    assert int(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]) == libraries.CACHE_BYTES


def test_a_folder_that_the_user_has_chosen_is_left_as_it_is(no_cache, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    libraries.remember_compilations()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ


def test_nothing_is_kept_where_no_folder_can_be_made(no_cache, monkeypatch):
    (no_cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_cache / "file"))
    libraries.remember_compilations()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_no_home_is_no_error(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    libraries.remember_compilations()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


@pytest.mark.slow
@where_programs_are_kept
def test_a_second_process_finds_what_the_first_has_compiled(no_cache):
    program = (
        "from rdonet_jax.cli import libraries; libraries.remember_compilations(); import jax; "
        "from rdonet_jax.runtime import compilation; jax.jit(lambda x: x * 3 + 1)(2.0)"
    )
    counts = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
        counts.append(len(list(no_cache.rglob("*-cache"))))
    assert counts[0] > 0
    assert counts[1] == counts[0]


@pytest.mark.slow
@where_programs_are_kept
@pytest.mark.parametrize("command", ["train", "eval"])
def test_training_and_evaluation_load_what_they_have_compiled_before(
    no_cache, tmp_path, images, tiny_weights, command
):
    (tmp_path / "photographs").mkdir()
    for name, image in zip("ab", images, strict=False):
        srgb.save(tmp_path / f"photographs/{name}.png", image.pixels[:64, :80])
    options = {
        "train": "--preset tiny --start random --crop 64 --batch-size 2 --stage1-steps 1 "
        "--stage2-steps 0 --run {run}",
        "eval": "--estimate --model {weights} --out {run}.json",
    }
    found, said = [], []
    for run in ("first", "second"):
        line = options[command].format(run=tmp_path / run, weights=tiny_weights).split()
        script = [sys.executable, str(ROOT / f"{command}.py"), "--data", "photographs", *line]
        done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(sorted(path.name for path in no_cache.rglob("*-cache")))
        said.append(done.stderr + done.stdout)
    assert len(found[0]) > 3
    assert found[1] == found[0]
    assert "AOT" not in said[1]


@pytest.mark.skipif(jax.__version_info__ >= (0, 6), reason="for JAX before 0.6")
def test_an_old_jax_whose_kept_programs_round_otherwise_keeps_none(no_cache):
    program = (
        "from rdonet_jax.cli import libraries; libraries.remember_compilations(); import jax; "
        "from rdonet_jax.runtime import compilation; jax.jit(lambda x: x * 3 + 1)(2.0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    assert not list(no_cache.rglob("*-cache"))
