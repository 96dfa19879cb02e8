"""The examples of docs/api.md, as they stand there; public names that are imported when used."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from PIL import Image

import rdonet_jax
from rdonet_jax import api
from rdonet_jax.models import zoo
from rdonet_jax.models.library import ModelLibrary
from tests.conftest import ROOT

PACKAGES = ("codec", "evaluation", "metrics", "models", "rdo", "training")

INTRODUCTION, *SECTIONS = re.split(r"^## ", (ROOT / "docs" / "api.md").read_text(), flags=re.M)

LONG = ("Evaluate", "Train")
"""Sections whose examples compile a whole training step, or code many images."""


def code_of(text: str) -> str:
    """The examples in a part of the page, one after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S))


def sections():
    found = []
    for text in SECTIONS:
        title = text.partition("\n")[0]
        marks = [pytest.mark.long] if title in LONG else []
        found.append(pytest.param(text, id=title.replace(" ", "-"), marks=marks))
    return found


@pytest.fixture
def photographs(monkeypatch, tmp_path, photograph, mini_weights):
    """What the examples find: files of images, and a small model under the name of the bundled."""
    monkeypatch.setattr(api, "_library", ModelLibrary())
    monkeypatch.setattr(zoo, "bundled", lambda: {"standard": mini_weights})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    Image.fromarray(photograph).save("photo.png")
    for name in ("a", "b"):
        Image.fromarray(photograph[:128, :128]).save(tmp_path / "photographs" / f"{name}.png")
    yield


@pytest.mark.once
def test_the_bytes_of_a_training_state_are_those_of_the_table(capsys):
    text = (ROOT / "docs" / "scaling.md").read_text()
    exec(compile(code_of(text), "docs/scaling.md", "exec"), {"__name__": "example"})
    counted = int(capsys.readouterr().out)
    (row,) = re.findall(r"^\| `standard` .*$", text, flags=re.M)
    assert f"{counted / 1e6:.0f} MB" in row


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("text", list(sections()))
def test_the_examples_of_the_page_run(photographs, text):
    if "BD-rate" in text:
        pytest.importorskip("bjontegaard")
    exec(compile(code_of(INTRODUCTION + text), "docs/api.md", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_every_public_name_can_be_imported(name):
    package = importlib.import_module(f"rdonet_jax.{name}".rstrip("."))
    for public in package.__all__:
        assert getattr(package, public) is not None
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_a_name_that_is_not_public_is_an_attribute_error(name):
    package = importlib.import_module(f"rdonet_jax.{name}".rstrip("."))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_importing_the_packages_loads_no_jax():
    modules = ["rdonet_jax", *(f"rdonet_jax.{name}" for name in PACKAGES)]
    program = (
        f"import {', '.join(modules)}, rdonet_jax.codec.bitstream, sys; "
        "rdonet_jax.__version__; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_functions_are_not_hidden_by_modules_of_their_name():
    for name in PACKAGES:
        for module in (ROOT / "rdonet_jax" / name).glob("*.py"):
            public = getattr(rdonet_jax, name).__all__
            assert module.stem not in public, f"{name}.{module.stem}"
