"""The campaign: images packed to a size, and a training whose results are a few small files."""

from __future__ import annotations

import io
import re
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image

from experiments.campaign import __main__ as campaign
from experiments.campaign import packing, training
from rdonet_jax.cli.commands import train
from rdonet_jax.imaging import shard_writer, shards, srgb
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models import zoo
from rdonet_jax.training.folder import run_log

pytestmark = pytest.mark.once

SMALL = ["--preset", "tiny", "--metric", "mse", "--crop", "64", "--batch-size", "8",
         "--prior-rate", "1", "--start", "random", "--log-every", "10"]  # fmt: skip


@pytest.fixture(autouse=True)
def own_environment(tmp_path, monkeypatch):
    """A training sets these variables unless they are set, and later tests must not see it."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_images_that_cannot_fit_are_refused(photographs, tmp_path, capsys):
    assert pack(photographs, tmp_path / "data", 0.05) == 1
    assert "do not fit into 0.05 MB" in capsys.readouterr().err


def test_every_image_gets_a_name_of_its_own(tmp_path):
    names = ("a/b.png", "a_b.bmp", "a_b.png", "a_b-2.png", "c.png", "d/c.png")
    for folder in ("train", "valid"):
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64)).save(path)
    folders = tmp_path / "train", tmp_path / "valid"
    assert pack(folders, tmp_path / "data", 1.0, "--crop", "64") == 0
    for folder in ("train", "valid"):
        stems = {path.stem for path in (tmp_path / "data" / folder).iterdir()}
        assert stems == {"a_b", "a_b-2", "a_b-3", "a_b-4", "c", "d_c"}


@pytest.mark.slow
def test_packing_that_is_interrupted_leaves_no_folder(photographs, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(packing, "coded", interrupt)
        assert pack(photographs, tmp_path / "data", 1.0) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "valid"]
    assert pack(photographs, tmp_path / "data", 1.0) == 0


@pytest.fixture
def noise(tmp_path):
    """Writes images without structure of a size, and gives their folder."""

    def make(folder: str, width: int, *names: str):
        (tmp_path / folder).mkdir(exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (96, width, 3), np.uint8)
        for name in names:
            Image.fromarray(pixels).save(tmp_path / folder / name)
        return tmp_path / folder

    return make


def contents(data):
    return sorted(path.relative_to(data).as_posix() for path in data.glob("*/*"))


def test_images_that_training_cannot_use_are_left_out_with_a_warning(noise, tmp_path, capsys):
    train, valid = noise("train", 96, "good.png"), noise("valid", 96, "good.png")
    noise("train", 63, "narrow.png")
    noise("valid", 63, "narrow.png")
    (train / "damaged.png").write_bytes(b"no image")
    whole = (train / "good.png").read_bytes()
    for folder in (train, valid):
        (folder / "cut.png").write_bytes(whole[: len(whole) // 2])  # with a header that is right
    assert pack((train, valid), tmp_path / "data", 1.0, "--crop", "64", "--format", "jpeg") == 0
    assert contents(tmp_path / "data") == ["train/good.jpeg", "valid/good.webp"]
    said = capsys.readouterr()
    assert "images: 1 for training, 1 for validation, 5 left out" in said.out
    lines = said.err.splitlines()
    assert len(lines) == 5 and all(line.startswith("pack: warning: ") for line in lines)
    left_out = [train / "narrow.png", train / "damaged.png", train / "cut.png"]
    for path in (*left_out, valid / "narrow.png", valid / "cut.png"):
        assert sum(f"{path}: " in line for line in lines) == 1


@pytest.mark.parametrize("folder", ["train", "valid"])
def test_no_image_that_can_be_used_is_an_error(noise, tmp_path, capsys, folder):
    folders = [noise(name, 63 if name == folder else 96, "one.png") for name in ("train", "valid")]
    assert pack(folders, tmp_path / "data", 1.0, "--crop", "64") == 1
    assert "images gives crops of 64x64" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "data").exists()


def test_images_in_shards_are_packed_as_those_in_folders(noise, tmp_path):
    folders = noise("train", 96, "a.png", "b.png"), noise("valid", 96, "c.png")
    packed = [tmp_path / f"{folder.name}-shards" for folder in folders]
    for folder, shards_of_it in zip(folders, packed, strict=True):
        shard_writer.pack([folder], shards_of_it, shards.TAR)
    for data, sources in (("of-files", folders), ("of-shards", packed)):
        assert pack(sources, tmp_path / data, 1.0, "--crop", "64", "--format", "jpeg") == 0
    names = contents(tmp_path / "of-files")
    assert names == contents(tmp_path / "of-shards")
    assert names == ["train/a.jpeg", "train/b.jpeg", "valid/c.webp"]
    for name in names:
        packed_twice = [tmp_path / data / name for data in ("of-files", "of-shards")]
        assert len({path.read_bytes() for path in packed_twice}) == 1


@pytest.mark.parametrize("crop", ["0", "-64", "100"])
def test_a_crop_that_training_refuses_is_one_sentence(noise, tmp_path, capsys, crop):
    folders = noise("train", 128, "a.png"), noise("valid", 128, "a.png")
    assert pack(folders, tmp_path / "data", 1.0, "--crop", crop) == 1
    said = capsys.readouterr().err
    assert said == f"pack: --crop must be a positive multiple of 64 pixels, not {crop}\n"


def test_no_image_is_reduced_below_the_crop():
    setting = packing.Setting(quality=50, pixels=1000)
    image = Image.new("RGB", (1024, 768))
    for crop, shortest in ((256, packing.SHORTEST_SIDE), (512, 512)):
        stored = packing.coded(image, setting, packing.Form("jpeg", crop))
        assert min(Image.open(io.BytesIO(stored)).size) == shortest


@pytest.fixture
def avif(tmp_path):
    """Adds training images to a folder of packed images, and gives the folder."""

    def make(name: str, *stems: str):
        (tmp_path / name / "train").mkdir(parents=True, exist_ok=True)
        for stem in stems:
            Image.new("RGB", (32, 32)).save(tmp_path / name / "train" / f"{stem}.avif")
        return tmp_path / name

    return make


def test_decoded_images_are_used_again_for_the_same_files_alone(avif, tmp_path, monkeypatch):
    images = tmp_path / "state" / "images"

    def names(data):
        folder, _ = packing.unpacked(data, images)
        return sorted(path.name for path in folder.iterdir())

    assert names(avif("one", "a", "b")) == ["a.ppm", "b.ppm"]
    with monkeypatch.context() as patched:
        patched.setattr(packing, "_decode", None)
        assert names(avif("copy", "a", "b")) == ["a.ppm", "b.ppm"]
    assert names(avif("other", "c")) == ["c.ppm"]
    assert names(avif("other", "d")) == ["c.ppm", "d.ppm"]
    (tmp_path / "other" / "train" / "d.avif").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"d\.avif: is damaged"):
        names(tmp_path / "other")
    assert names(tmp_path / "one") == ["a.ppm", "b.ppm"]
    assert sorted(path.name for path in images.parent.iterdir()) == ["images", "images.json"]


def test_a_folder_of_unknown_images_is_neither_used_nor_removed(avif, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "own.png").touch()
    with pytest.raises(packing.PackError, match="images: is of unknown origin"):
        packing.unpacked(avif("data", "a"), tmp_path / "images")
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["own.png"]


def test_a_folder_that_is_in_use_is_refused_before_images_are_decoded(avif, tmp_path, capsys):
    data, out, state = avif("data", "a"), tmp_path / "out", tmp_path / "state"
    out.mkdir()
    (out / "note").touch()
    command = ["train", str(data), str(out), "--state", str(state), "--minutes", "1"]
    assert campaign.main(command, 0.0) == 1
    assert capsys.readouterr().err == f"train: {out}: is not empty\n"
    assert not state.exists()


def test_a_second_command_can_have_more_minutes(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(train, "run", lambda arguments, *_: given.append(arguments) or 0)
    campaign.main(
        ["train", "data", str(tmp_path / "out"), "--state", str(tmp_path), "--minutes", "13",
         "--resume", "--more-minutes", "5"], 0.0,
    )  # fmt: skip
    options, settings = train.parse(given[0], "rdonet train")
    assert options.resume and settings.training.minutes == 13
    assert settings.length.more_minutes == 5


@pytest.mark.slow
def test_a_campaign_leaves_a_few_small_files_and_one_line(
    photographs, tmp_path, light_steps, capsys
):
    assert pack(photographs, tmp_path / "data", 1.0) == 0
    out, state = tmp_path / "out", tmp_path / "state"
    command = ["train", str(tmp_path / "data"), str(out), "--state", str(state), *SMALL]
    assert campaign.main([*command, "--minutes", "0.2"], time.monotonic()) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"campaign: \d+ steps, on cpu,( [\d.]+ crops/s,)? validation 0\.5000 bpp 30\.00 dB, "
        r"step_\d+-[0-9a-f]{16}\.safetensors",
        line,
    )
    names = sorted(path.name for path in out.iterdir())
    assert len(names) == 4 and all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)
    assert zoo.load(out / line.split()[-1]).config.trunk == (8, 12, 16)
    # The state stays, so a second start must say what it wants.
    assert campaign.main([*command, "--minutes", "0.2"], time.monotonic()) == 1
    assert "--resume goes on with it" in capsys.readouterr().err
    # A second machine may have the state, but not yet the folder of results.
    command[2] = str(tmp_path / "new")
    assert campaign.main([*command, "--minutes", "0.2", "--resume"], time.monotonic()) == 0
    # A slow machine had no time for a second step before, and goes on with the run.
    assert {path.name for path in (tmp_path / "new").iterdir()} >= {"log.jsonl", "config.json"}


def test_the_line_tells_numbers_that_are_not_finite(tmp_path):
    validation = {"bpp": float("nan"), "psnr": float("inf")}
    entry = {"step": 10, "crops_per_second": float("nan"), "validation": validation}
    run_log.append(tmp_path / "log.jsonl", entry)
    assert training.summary(tmp_path) == (
        "campaign: 10 steps, validation not-finite bpp not-finite dB"
    )


def test_a_training_that_could_not_start_has_no_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "run", lambda *_: 1)
    assert (
        campaign.main(["train", "data", str(tmp_path / "out"), "--state", str(tmp_path)], 0.0) == 1
    )
    assert capsys.readouterr().out == ""


def test_a_cpu_trains_only_where_that_is_said(tmp_path, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(train, "run", lambda arguments, *_: given.append(arguments) or 0)
    command = ["train", "data", str(tmp_path / "out"), "--state", str(tmp_path)]
    for variable in (None, "cuda,cpu"):
        monkeypatch.delenv("JAX_PLATFORMS")
        if variable:
            monkeypatch.setenv("JAX_PLATFORMS", variable)
        assert campaign.main(command, 0.0) == 1
        assert capsys.readouterr().err.startswith("train: JAX finds no accelerator on this machine")
        assert not given and not (tmp_path / "out").exists()
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert campaign.main(command, 0.0) == 0
    monkeypatch.delenv("JAX_PLATFORMS")
    assert campaign.main([*command, "--cpu"], 0.0) == 0
    assert len(given) == 2 and "--cpu" not in given[1]


def test_a_damaged_log_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "state" / "run").mkdir(parents=True)
    (tmp_path / "state" / "run" / "log.jsonl").write_text("no log\n")
    monkeypatch.setattr(train, "run", lambda *_: 0)
    state = ["--state", str(tmp_path / "state"), "--resume"]
    assert campaign.main(["train", "data", str(tmp_path / "out"), *state], 0.0) == 1
    said = capsys.readouterr().err
    assert said.startswith("train: ") and "line 1 is damaged" in said and said.count("\n") == 1


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        training, "NEEDED", {"no_such_module.inside": "no-such-package", **training.NEEDED}
    )
    assert campaign.main(["train", "data", str(tmp_path / "out"), "--minutes", "1"], 0.0) == 1
    assert "missing here: no-such-package" in capsys.readouterr().err


def test_results_that_are_too_large_or_too_many_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "MOST_BYTES", 10)
    for number in range(9):
        (tmp_path / str(number)).write_bytes(bytes(5 + number))
    assert training.complaints(tmp_path) == [
        *(f"{n} is too large" for n in (6, 7, 8)), "9 files are too many"
    ]  # fmt: skip
