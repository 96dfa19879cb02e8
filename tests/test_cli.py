"""The command line as its users meet it: exit codes, single lines, and files that stay whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rdonet_jax import cli, codec, images, partition, zoo

ROOT = Path(cli.__file__).parent.parent
LEVELS_OF_A_SPLIT_BLOCK = np.kron([[2, 1], [0, 2]], np.ones((4, 4))).astype(np.uint8)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def contents(folder):
    """Every file under a folder, hidden ones too, and what is in it."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unreachable(*_, **__):
    raise AssertionError("this work should not have begun")


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def image(photograph):
    return np.ascontiguousarray(photograph[:100, :90])


@pytest.fixture(scope="module")
def compressed(tiny_model, image):
    """Level by level in three of its blocks, so that every section holds something."""
    return codec.compress(tiny_model, image, partition.from_level_map(LEVELS_OF_A_SPLIT_BLOCK))


@pytest.fixture
def folder(tmp_path, monkeypatch, image, compressed):
    """The working directory, with a picture and a compressed file."""
    monkeypatch.chdir(tmp_path)
    images.save("a.png", image)
    Path("b.rdo").write_bytes(compressed)
    return tmp_path


@pytest.fixture
def bundle(monkeypatch, tiny_weights):
    """Lets the package hold the tiny model, under its own name and the default's."""
    models = {"small": tiny_weights, "tiny": tiny_weights}
    monkeypatch.setattr(zoo, "bundled", lambda: models)
    return models


@pytest.fixture
def empty_bundle(monkeypatch):
    monkeypatch.setattr(zoo, "bundled", dict)


@pytest.fixture
def rdonet(folder, capsys):
    def run(*arguments) -> Outcome:
        capsys.readouterr()
        return Outcome(cli.main([str(argument) for argument in arguments]), *capsys.readouterr())

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


# Compressing and decompressing


def test_compress_writes_the_codecs_bytes_beside_the_picture(rdonet, bundle, tiny_model, image):
    code, out, err = rdonet("compress", "a.png")
    data = Path("a.png.rdo").read_bytes()
    assert data == codec.compress(
        tiny_model, image, codec.choose_partition(tiny_model, image, "variance")
    )
    assert (code, err) == (0, "")
    line = r"a\.png\.rdo: (\d+) bytes, (\d+\.\d{3}) bpp, levels 16/32/64: \d+% / \d+% / \d+%, .+ s"
    size, bpp = re.fullmatch(line, out.rstrip("\n")).groups()
    assert int(size) == len(data)
    assert float(bpp) == pytest.approx(8 * len(data) / 9000, abs=0.0006)


def test_decompress_gives_the_picture_that_the_codec_gives(rdonet, bundle, tiny_model, compressed):
    code, out, err = rdonet("decompress", "b.rdo")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"b\.rdo\.png: 90x100 pixels, \d+\.\d s\n", out)
    expected = codec.decompress(tiny_model, compressed)
    np.testing.assert_array_equal(images.load("b.rdo.png"), expected)


def test_a_weights_file_stands_in_for_a_bundled_model(rdonet, empty_bundle, tiny_weights):
    assert rdonet("compress", "a.png", "c.rdo", "--model", tiny_weights).code == 0
    assert rdonet("decompress", "c.rdo", "d.bmp", "--model", tiny_weights).code == 0
    assert images.load("d.bmp").shape == (100, 90, 3)


def test_quiet_commands_print_nothing(rdonet, bundle):
    assert rdonet("compress", "a.png", "--quiet") == (0, "", "")
    assert rdonet("decompress", "a.png.rdo", "--quiet") == (0, "", "")
    assert Path("a.png.rdo.png").exists()


def test_a_file_name_that_no_encoding_holds_is_no_obstacle(rdonet, bundle):
    name = os.fsdecode(b"\xff.png")
    try:
        os.rename("a.png", name)
    except OSError:
        pytest.skip("this file system takes no such names")
    code, out, _ = rdonet("compress", name)
    assert (code, out[:15]) == (0, "\\udcff.png.rdo:")


# Masks


@pytest.mark.parametrize("level, stride", [*enumerate(partition.STRIDES)])
def test_a_uniform_mask_codes_every_block_at_its_level(
    rdonet, bundle, tiny_model, image, level, stride
):
    out = rdonet("compress", "a.png", "--mask", f"uniform-{stride}").out
    shares = ["0%", "0%", "0%"]
    shares[level] = "100%"
    assert f"levels 16/32/64: {' / '.join(shares)}, " in out
    p = partition.uniform(level, (2, 2))
    assert Path("a.png.rdo").read_bytes() == codec.compress(tiny_model, image, p)


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_mask_file_gives_the_level_of_every_block(rdonet, bundle, compressed, suffix):
    if suffix == ".npy":
        np.save("mask.npy", LEVELS_OF_A_SPLIT_BLOCK)
    else:
        images.Image.fromarray(LEVELS_OF_A_SPLIT_BLOCK).save("mask.png")
    assert rdonet("compress", "a.png", "--mask", f"mask{suffix}").code == 0
    assert Path("a.png.rdo").read_bytes() == compressed


def test_a_mask_that_is_no_tree_is_refused_with_the_block_named(refusal, bundle, folder):
    levels = LEVELS_OF_A_SPLIT_BLOCK.copy()
    levels[3, 6] = 0
    np.save("mask.npy", levels)
    cause = refusal("mask.npy", "compress", "a.png", "--mask", "mask.npy")
    assert "32x32 block in row 1, column 3" in cause


def test_a_mask_of_another_shape_is_refused_with_the_shape_it_should_have(refusal, bundle, folder):
    np.save("mask.npy", LEVELS_OF_A_SPLIT_BLOCK[:, :4])
    cause = refusal("mask.npy", "compress", "a.png", "--mask", "mask.npy")
    assert cause == (
        "has 8 rows of 4 levels; a picture of 90x100 pixels needs 8 rows of 8, "
        "one level per 16x16 pixels"
    )


def test_a_mistyped_mask_is_refused_with_the_kinds_there_are(refusal, bundle):
    cause = refusal("unifrom-16", "compress", "a.png", "--mask", "unifrom-16")
    assert ", ".join(codec.MASKS) in cause


def test_a_mask_file_that_holds_no_mask_is_refused(refusal, bundle):
    assert "gray or palette" in refusal("a.png", "compress", "a.png", "--mask", "a.png")


# Files that exist


@pytest.mark.parametrize(
    "command, source, target",
    [("compress", "a.png", "a.png.rdo"), ("decompress", "b.rdo", "c.png")],
)
def test_an_existing_file_is_kept_without_force_and_no_work_is_begun(
    refusal, rdonet, bundle, monkeypatch, command, source, target
):
    Path(target).write_bytes(b"precious")
    with monkeypatch.context() as patch:
        for room, name in ((images, "load"), (zoo, "load"), (codec, "encode"), (codec, "decode")):
            patch.setattr(room, name, unreachable)
        assert "exists already" in refusal(target, command, source, target)
    assert rdonet(command, source, target, "--force").code == 0
    assert Path(target).read_bytes() != b"precious"


@pytest.mark.parametrize("command, source", [("compress", "a.png"), ("decompress", "b.rdo")])
def test_the_input_is_never_overwritten_not_even_with_force(refusal, bundle, command, source):
    same = os.path.join(".", source)
    assert "is the input" in refusal(same, command, source, same, "--force")


def test_a_second_picture_is_not_taken_for_the_output(refusal, bundle, image):
    images.save("z.png", image)
    assert "name of a picture" in refusal("z.png", "compress", "a.png", "z.png", "--force")


def test_a_failed_overwrite_leaves_the_old_file(refusal, bundle, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    Path("a.png.rdo").write_bytes(b"precious")
    monkeypatch.setattr(codec, "encode", fail)
    assert "not enough memory" in refusal("a.png", "compress", "a.png", "--force")


# What users get wrong


@pytest.mark.parametrize(
    "about, arguments, cause",
    [
        ("none.png", ["none.png"], "No such file or directory"),
        ("d", ["d"], "cannot be read: Is a directory"),
        ("bad.png", ["bad.png"], "is damaged"),
        ("b.rdo", ["b.rdo"], "no picture"),
        ("no/c.rdo", ["a.png", "no/c.rdo"], "the folder no does not exist"),
        ("d", ["a.png", "d"], "is not a regular file"),
        ("x" * 256, ["a.png", "x" * 256], "cannot be written: File name too long"),
        ("large", ["a.png", "--model", "large"], "bundled are: small, tiny"),
        ("d", ["a.png", "--model", "d"], "is neither a bundled model nor a weights file"),
        ("b.rdo", ["a.png", "--model", "b.rdo"], "damaged or renamed"),
        ("d", ["a.png", "--mask", "d"], "cannot be read: Is a directory"),
    ],
)
def test_compress_says_in_one_line_what_is_wrong(refusal, bundle, folder, about, arguments, cause):
    Path("d").mkdir()
    Path("bad.png").write_bytes(Path("a.png").read_bytes()[:-500])
    assert cause in refusal(about, "compress", *arguments)


@pytest.mark.parametrize(
    "file, cause",
    [
        ("none.rdo", "No such file or directory"),
        ("d", "Is a directory"),
        ("a.png", "this is no RDONet file"),
        ("empty.rdo", "the file is empty"),
        ("cut.rdo", "truncated"),
        ("long.rdo", "bytes too many"),
        ("new.rdo", "format version 99 is unknown"),
    ],
)
@pytest.mark.parametrize("command", ["decompress", "info"])
def test_bad_compressed_files_are_refused_in_one_line(refusal, compressed, command, file, cause):
    Path("d").mkdir()
    Path("empty.rdo").write_bytes(b"")
    Path("cut.rdo").write_bytes(compressed[:-100])
    Path("long.rdo").write_bytes(compressed + b"x")
    Path("new.rdo").write_bytes(compressed[:4] + b"\x63" + compressed[5:])
    assert cause in refusal(file, command, file)


@pytest.mark.parametrize(
    "about, arguments, cause",
    [
        ("c.xyz", ["c.xyz"], "the suffix names no format"),
        ("no/c.png", ["no/c.png"], "the folder no does not exist"),
        ("none", ["--model", "none"], "is neither a bundled model nor a weights file"),
    ],
)
def test_decompress_says_in_one_line_what_is_wrong(refusal, bundle, about, arguments, cause):
    assert cause in refusal(about, "decompress", "b.rdo", *arguments)


def test_any_damaged_byte_is_noticed_before_a_picture_is_written(refusal, bundle, compressed):
    for position in range(0, len(compressed), len(compressed) // 12):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x10
        Path("b.rdo").write_bytes(damaged)
        refusal("b.rdo", "decompress", "b.rdo")


def test_a_picture_that_cannot_be_written_leaves_no_temporary_file(refusal, bundle, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(images.os, "replace", deny)
    cause = "cannot be written: Permission denied"
    assert refusal("b.rdo.png", "decompress", "b.rdo") == cause
    assert refusal("a.png.rdo", "compress", "a.png") == cause


def test_a_file_name_of_two_lines_makes_an_error_of_one(rdonet):
    assert rdonet("info", "two\nlines") == (
        1, "", "rdonet: two lines: No such file or directory\n"
    )  # fmt: skip


# Models


def test_without_bundled_models_there_is_a_clear_line(refusal, rdonet, empty_bundle):
    cause = refusal("small", "compress", "a.png")
    assert cause == "is neither a bundled model nor a weights file; no models are bundled"
    assert rdonet("models") == (0, "no models are bundled with this installation\n", "")


def test_a_file_of_an_unknown_model_is_refused_with_the_models_name(
    refusal, empty_bundle, tiny_model
):
    assert refusal("b.rdo", "decompress", "b.rdo") == (
        f"needs the model tiny ({tiny_model.digest.hex()}), which is not bundled; "
        "give its weights file with --model"
    )


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


def test_a_bundled_model_of_the_same_name_but_another_hash_is_not_used(
    refusal, bundle, other_weights
):
    bundle["tiny"] = other_weights
    digest = zoo.load(str(other_weights)).digest.hex()
    cause = refusal("b.rdo", "decompress", "b.rdo")
    assert f"but the bundled one of that name is {digest}" in cause


def test_weights_of_another_hash_are_refused(refusal, bundle, tiny_model, other_weights):
    cause = refusal("b.rdo", "decompress", "b.rdo", "--model", other_weights)
    assert f"written with model tiny ({tiny_model.digest.hex()}), not with tiny" in cause


def test_models_tells_what_each_was_trained_for_and_how_long(
    rdonet, bundle, tiny_model, other_weights
):
    bundle["tiny"] = other_weights
    first, second = zoo.load("small").digest.hex(), zoo.load("tiny").digest.hex()
    size = sum(np.size(leaf) for leaf in codec.jax.tree_util.tree_leaves(tiny_model.params)) / 1e6
    assert rdonet("models") == (
        0,
        f"small (default): hash {first}, {size:.2f} M parameters\n"
        "  its training is not on record\n"
        f"tiny: hash {second}, {size:.2f} M parameters\n"
        "  trained for bpp + 0.0067 * 255^2 * MSE, 26000 steps of 8 crops of 256x256 pixels\n"
        "  validation: 0.438 bpp (estimate), 27.27 dB\n",
        "",
    )


def test_a_damaged_bundled_model_is_named(refusal, bundle, tmp_path, tiny_weights):
    bundle["tiny"] = tmp_path / tiny_weights.name
    bundle["tiny"].write_bytes(tiny_weights.read_bytes()[:-1])
    assert "damaged or renamed" in refusal(bundle["tiny"], "models")


# info


def test_info_accounts_for_every_byte_and_block_without_weights(
    rdonet, empty_bundle, compressed, tiny_model
):
    code, out, err = rdonet("info", "b.rdo")
    assert (code, err) == (0, "")
    heading, version, model, _, *rows = out.splitlines()
    size = len(compressed)
    assert heading == f"b.rdo: 90x100 pixels, {size} bytes, {8 * size / 9000:.4f} bpp"
    assert version == "format version 1, range coder constriction"
    assert model == f"model tiny ({tiny_model.digest.hex()}), which is not bundled"
    cells = {name: rest for name, *rest in map(str.split, rows)}
    assert list(cells) == ["container", "partition", "64x64", "32x32", "16x16"]
    assert sum(int(row[0]) for row in cells.values()) == size
    assert all(float(row[1]) == pytest.approx(8 * int(row[0]) / 9000, abs=6e-5) for row in
               cells.values())  # fmt: skip
    # 26 x 64 pixels at level 1 hold two blocks' worth of it, 64 x 36 ones at level 0 12 blocks.
    areas = {"64x64": 64 * 64 + 26 * 36, "32x32": 26 * 64, "16x16": 64 * 36}
    blocks = {"64x64": 2, "32x32": 2, "16x16": 12}
    for name, area in areas.items():
        assert cells[name][2:] == [str(blocks[name]), f"{area / 9000:.1%}"]


def test_info_tells_whether_the_weights_are_here(rdonet, bundle, other_weights):
    assert ", which is bundled\n" in rdonet("info", "b.rdo").out
    bundle["tiny"] = other_weights
    assert ", but the bundled one of that name is " in rdonet("info", "b.rdo").out


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["explode"], ["compress"], ["info"], ["info", "a", "b"], ["models", "a"],
        ["compress", "a.png", "b.rdo", "c.rdo"], ["compress", "a.png", "--forc"],
        ["compress", "a.png", "--mask"],
    ],
)  # fmt: skip
def test_wrong_usage_has_exit_code_2_and_says_how_it_should_be(rdonet, arguments):
    code, out, err = rdonet(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: rdonet")


def test_help_names_every_kind_of_mask(rdonet):
    code, out, err = rdonet("compress", "--help")
    assert (code, err) == (0, "")
    assert all(kind in re.sub(r"\s+", " ", out) for kind in codec.MASKS)


def test_the_version_is_that_of_the_installed_package(rdonet, monkeypatch):
    monkeypatch.setattr(metadata, "version", {"rdonet-jax": "1.2.3"}.__getitem__)
    assert rdonet("--version") == (0, "rdonet 1.2.3\n", "")


def test_a_source_checkout_has_no_version_but_says_so(rdonet, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert rdonet("--version") == (0, "rdonet (source checkout)\n", "")


# Interruptions


@pytest.mark.parametrize(
    "room, name", [(images, "load"), (codec, "encode"), (images.os, "replace")]
)
def test_an_interrupted_command_leaves_everything_as_it_was(
    rdonet, bundle, folder, monkeypatch, room, name
):
    Path("a.png.rdo").write_bytes(b"precious")
    before = contents(folder)
    monkeypatch.setattr(room, name, interrupt)
    assert rdonet("compress", "a.png", "--force") == (130, "", "rdonet: interrupted\n")
    assert contents(folder) == before


def test_the_module_is_the_same_command_without_a_word_on_standard_error(
    folder, tiny_weights, compressed
):
    np.save("mask.npy", LEVELS_OF_A_SPLIT_BLOCK)
    options = ["a.png", "--mask", "mask.npy", "--model", tiny_weights]
    done = subprocess.run(
        [sys.executable, "-m", "rdonet_jax", "compress", *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"a.png.rdo: {len(compressed)} bytes, ")
    assert Path("a.png.rdo").read_bytes() == compressed
