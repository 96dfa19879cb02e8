"""`rdonet train` and `rdonet eval` as processes and beside the other commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rdonet_jax.cli import lazy_commands
from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("package", ["optax", "orbax.checkpoint"])
def test_where_a_package_is_missing_one_sentence_says_what_to_install(package):
    script = (
        f"import sys; sys.modules[{package!r}] = None; from rdonet_jax.cli import main; "
        "main.main(['--help']); sys.exit(main.main(['train']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    name = package.partition(".")[0]
    assert done.returncode == 1 and "train a model" in done.stdout
    brings = "is not installed; pip install 'rdonet-jax[train]' brings it"
    assert done.stderr == f"rdonet train: {name} {brings}\n"


def test_a_missing_module_of_the_package_itself_is_a_fault_and_not_explained():
    error = ModuleNotFoundError(name="rdonet_jax.cli.commands.train")
    with pytest.raises(ModuleNotFoundError):
        lazy_commands._missing(error, "rdonet train")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "program", "option"),
    [("train.py", "rdonet train", "--lmbd"), ("eval.py", "rdonet eval", "--modl")],
)
def test_the_scripts_are_the_commands_under_their_own_names(script, program, option):
    command = program.split()[1]
    for words, name in (([script], script), (["-m", "rdonet_jax", command], program)):
        done = subprocess.run(
            [sys.executable, *words, option, "3"], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{name}: there is no option {option}; the nearest is --")
