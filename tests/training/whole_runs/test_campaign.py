"""The campaign: images packed to a size, and a training whose results are a few small files."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image

from experiments.campaign import __main__ as campaign
from experiments.campaign import packing, training
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo

pytestmark = pytest.mark.once

SMALL = ["--preset", "tiny", "--metric", "mse", "--crop", "64", "--batch-size", "8",
         "--prior-rate", "1", "--start", "random", "--log-every", "10"]  # fmt: skip


@pytest.fixture
def photographs(tmp_path):
    """Folders of training and of validation images."""
    for folder, names in (("train", ("astronaut", "coffee")), ("valid", ("chelsea",))):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(getattr(skimage.data, name)()).save(tmp_path / folder / f"{name}.png")
    return tmp_path / "train", tmp_path / "valid"


def pack(photographs, out, megabytes, *more):
    return campaign.main(
        ["pack", *map(str, (*photographs, out)), "--megabytes", str(megabytes), *more], 0.0
    )


def test_packed_images_fit_and_the_middle_of_validation_images_is_kept_without_loss(
    photographs, tmp_path, capsys
):
    assert pack(photographs, tmp_path / "data", 0.3) == 0
    assert packing.size_of(tmp_path / "data") <= 0.3e6
    assert re.search(r"data: 0\.[123] MB; quality \d+", capsys.readouterr().out)
    kept = srgb.load(tmp_path / "data" / "valid" / "chelsea.webp")
    whole = skimage.data.chelsea()
    top, left = (whole.shape[0] - 256) // 2, (whole.shape[1] - 256) // 2
    np.testing.assert_array_equal(kept, whole[top : top + 256, left : left + 256])
    folder, _ = packing.unpacked(tmp_path / "data", tmp_path / "images")
    assert sorted(path.stem for path in folder.iterdir()) == ["astronaut", "coffee"]
    assert min(srgb.load(next(folder.iterdir())).shape[:2]) >= packing.SHORTEST_SIDE


def test_jpeg_is_there_where_avif_is_not(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packing, "has_avif", lambda: False)
    assert pack(photographs, tmp_path / "other", 0.4, "--format", "avif") == 1
    assert "this Pillow has no AVIF" in capsys.readouterr().err
    assert pack(photographs, tmp_path / "data", 0.4) == 0
    folder, _ = packing.unpacked(tmp_path / "data", tmp_path / "images")
    assert {path.suffix for path in folder.iterdir()} == {".jpeg"}


def test_images_that_cannot_fit_are_refused(photographs, tmp_path, capsys):
    assert pack(photographs, tmp_path / "data", 0.05) == 1
    assert "do not fit into 0.05 MB" in capsys.readouterr().err


def test_a_campaign_brings_back_a_few_small_files_and_one_line(
    photographs, tmp_path, light_steps, monkeypatch, capsys
):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    assert pack(photographs, tmp_path / "data", 1.0) == 0
    out, state = tmp_path / "out", tmp_path / "state"
    command = ["train", str(tmp_path / "data"), str(out), "--state", str(state), *SMALL]
    assert campaign.main([*command, "--minutes", "0.2"], time.monotonic()) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"campaign: \d+ steps,( [\d.]+ crops/s,)? validation 0\.5000 bpp 30\.00 dB, "
        r"step_\d+-[0-9a-f]{16}\.safetensors",
        line,
    )
    names = sorted(path.name for path in out.iterdir())
    assert len(names) == 4 and all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)
    assert zoo.load(out / line.split()[-1]).config.trunk == (8, 12, 16)
    # The state stays, so a second start must say what it wants.
    assert campaign.main([*command, "--minutes", "0.2"], time.monotonic()) == 1
    assert "--resume goes on with it" in capsys.readouterr().err
    assert campaign.main([*command, "--minutes", "0.2", "--resume"], time.monotonic()) == 0


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        training, "NEEDED", {"no_such_module.inside": "no-such-package", **training.NEEDED}
    )
    assert campaign.main(["train", "data", str(tmp_path / "out"), "--minutes", "1"], 0.0) == 1
    assert "missing here: no-such-package" in capsys.readouterr().err


def test_what_cannot_be_brought_back_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "MOST_BYTES", 10)
    for number in range(9):
        (tmp_path / str(number)).write_bytes(bytes(5 + number))
    assert training.complaints(tmp_path) == [
        *(f"{n} is too large" for n in (6, 7, 8)), "9 files are too many"
    ]  # fmt: skip
