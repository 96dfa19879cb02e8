"""A folder with files to work on, models to work with, and `rdonet` to call on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rdonet_jax.cli import main as cli_main
from rdonet_jax.cli.commands import compress, decompress
from rdonet_jax.cli.files.file_result import FileResult
from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo

LEVELS_OF_A_SPLIT_BLOCK = np.kron([[2, 1], [0, 2]], np.ones((4, 4))).astype(np.uint8)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def contents(folder):
    """Every file under a folder, hidden ones too, and what is in it."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def image(photograph):
    return np.ascontiguousarray(photograph[:100, :90])


@pytest.fixture(scope="module")
def compressed(tiny_model, image):
    """Level by level in three of its blocks, so that every section holds something."""
    return codec.compress(tiny_model, image, partition.from_level_map(LEVELS_OF_A_SPLIT_BLOCK))


@pytest.fixture
def folder(tmp_path, monkeypatch, image, compressed):
    """The working directory, with an image and a compressed file."""
    monkeypatch.chdir(tmp_path)
    srgb.save("a.png", image)
    Path("b.rdo").write_bytes(compressed)
    return tmp_path


@pytest.fixture
def written(tmp_path):
    """Writes a configuration, and gives its name."""

    def write(text: str, name: str = "run.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def bundle(monkeypatch, tiny_weights):
    """Lets the package hold the tiny model, under its own name and the default's."""
    models = {"standard": tiny_weights, "tiny": tiny_weights}
    monkeypatch.setattr(zoo, "bundled", lambda: models)
    monkeypatch.setattr(zoo, "earlier", dict)
    return models


@pytest.fixture
def empty_bundle(monkeypatch):
    monkeypatch.setattr(zoo, "bundled", dict)
    monkeypatch.setattr(zoo, "earlier", dict)


@pytest.fixture
def rdonet(folder, capsys):
    def run(*arguments) -> Outcome:
        capsys.readouterr()
        return Outcome(
            cli_main.main([str(argument) for argument in arguments]), *capsys.readouterr()
        )

    return run


@pytest.fixture
def refusal(rdonet, folder):
    """Runs what must fail: one line about a file, exit code 1, and nothing else has happened."""

    def run(about, *arguments) -> str:
        before = contents(folder)
        code, out, err = rdonet(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith(f"rdonet: {about}: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert contents(folder) == before
        return err.removeprefix(f"rdonet: {about}: ").rstrip()

    return run


@pytest.fixture
def other_weights(tmp_path_factory, tiny_model):
    """The tiny model with another record, and so with another hash."""
    record = {
        "training": {"metric": "mse", "lmbda": 0.0067, "batch_size": 8, "crop": 256},
        "steps_done": 26000,
        "validation": {"bpp": 0.43831, "psnr": 27.2737},
    }
    place = tmp_path_factory.mktemp("other")
    return zoo.save(place, "tiny", tiny_model.config, tiny_model.params, record)


@pytest.fixture
def copied(rdonet, monkeypatch):
    """`rdonet` with work that copies, and what the results then are, by their names."""

    def copy(source, target, options, models, show_progress):
        data = Path(source).read_bytes()
        Path(target).write_bytes(data)
        return FileResult((), {"input": str(source), "notes": []}, 1, len(data), ())

    monkeypatch.setattr(compress, "compress_file", copy)
    monkeypatch.setattr(decompress, "decompress_file", copy)

    def run(*arguments, folder="out"):
        done = rdonet(*arguments, "--out-dir", folder)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return done, {
            str(path.relative_to(folder)): os.fsdecode(path.read_bytes()) for path in files
        }

    return run


def write(*names):
    """Files that hold their own names."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
