"""Models that are loaded once each."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rdonet_jax.models import zoo
from rdonet_jax.models.library import ModelLibrary
from tests.conftest import ROOT


@pytest.fixture
def loaded(monkeypatch):
    """The names that were loaded, and a zoo that holds a model of every name."""
    names = []

    def load(name):
        names.append(name)
        return f"the model {name}"

    monkeypatch.setattr(zoo, "load", load)
    return names


def test_a_model_is_loaded_once_whatever_kind_of_name_it_is_given(loaded):
    library = ModelLibrary()
    assert library.load("a") == library.load(Path("a")) == library.load(b"a") == "the model a"
    assert loaded == ["a"]


def test_a_bundled_model_is_loaded_once_by_its_name_its_path_and_its_hash():
    library = ModelLibrary()
    name, path = next(iter(zoo.bundled().items()))
    model = library.load(name)
    assert library.load(path) is model and library.find(model.digest) is model


def test_threads_that_ask_for_the_same_model_load_it_once(loaded):
    library = ModelLibrary()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(library.load, "abab")) == {"the model a", "the model b"}
    assert sorted(loaded) == ["a", "b"]


def test_the_models_that_were_used_last_are_kept(loaded):
    library = ModelLibrary(capacity=2)
    for name in "abacba":
        library.load(name)
    assert loaded == ["a", "b", "c", "b", "a"]


def test_a_weights_file_that_was_replaced_is_loaded_again(loaded, tmp_path, monkeypatch):
    library, (here, there) = ModelLibrary(), (tmp_path / "here", tmp_path / "there")
    for folder in (here, there):
        folder.mkdir()
        (folder / "a").write_bytes(b"weights")
    monkeypatch.chdir(here)
    assert library.load("a") == library.load("a")
    assert loaded == ["a"]
    Path("a").write_bytes(b"other weights")
    library.load("a")
    assert loaded == ["a", "a"]
    monkeypatch.chdir(there)
    library.load("a")
    assert loaded == ["a", "a", "a"]


def test_a_folder_with_the_name_of_a_bundled_model_is_not_its_file(loaded, tmp_path, monkeypatch):
    file = tmp_path / "a-00.safetensors"
    monkeypatch.setattr(zoo, "bundled", lambda: {"a": file})
    monkeypatch.chdir(tmp_path)
    library, folder = ModelLibrary(), tmp_path / "a"
    library.load("a")
    folder.mkdir()
    library.load("a")
    (folder / "photo.png.rdo").write_bytes(b"")
    library.load("a")
    assert loaded == [str(file)]


def test_cleared_models_are_loaded_again(loaded):
    library = ModelLibrary()
    library.load("a")
    library.clear()
    library.load("a")
    assert loaded == ["a", "a"]


def test_a_file_finds_its_model_by_the_hash_of_the_weights(monkeypatch, tiny_model, tiny_weights):
    monkeypatch.setattr(zoo, "bundled", lambda: {"tiny": tiny_weights})
    library = ModelLibrary()
    assert library.find(tiny_model.digest).digest == tiny_model.digest
    assert library.find(bytes(4)) is None


def test_what_is_no_name_is_no_model():
    with pytest.raises(zoo.ZooError, match="neither a name nor a path"):
        ModelLibrary().load(5)


def test_a_library_without_models_loads_no_jax():
    script = (
        "import sys; from rdonet_jax.models.library import ModelLibrary; ModelLibrary(); "
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
