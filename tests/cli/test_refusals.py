"""What the command line refuses: one line, exit code 1, and files that stay as they were."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rdonet_jax.codec import bitstream, codec
from rdonet_jax.imaging import reader, srgb
from rdonet_jax.models import zoo
from rdonet_jax.rdo import encode_options
from rdonet_jax.runtime import system_memory
from tests.cli.conftest import LEVELS_OF_A_SPLIT_BLOCK, contents
from tests.conftest import ROOT


def unreachable(*_, **__):
    raise AssertionError("this work should not have begun")


def interrupt(*_, **__):
    raise KeyboardInterrupt


# Files that exist


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, source, target",
    [("compress", "a.png", "a.png.rdo"), ("decompress", "b.rdo", "c.png")],
)
def test_an_existing_file_is_kept_without_force_and_no_work_is_begun(
    refusal, rdonet, bundle, monkeypatch, command, source, target
):
    Path(target).write_bytes(b"precious")
    with monkeypatch.context() as patch:
        for module, name in (
            (reader, "load"),
            (zoo, "load"),
            (codec, "encode_prepared"),
            (codec, "decode"),
        ):
            patch.setattr(module, name, unreachable)
        assert "exists already" in refusal(target, command, source, target)
    assert rdonet(command, source, target, "--force").code == 0
    assert Path(target).read_bytes() != b"precious"


@pytest.mark.parametrize("command, source", [("compress", "a.png"), ("decompress", "b.rdo")])
def test_the_input_is_never_overwritten_not_even_with_force(refusal, bundle, command, source):
    same = os.path.join(".", source)
    assert "is the input" in refusal(same, command, source, same, "--force")


def test_a_second_image_is_not_taken_for_the_output(refusal, bundle, image):
    srgb.save("z.png", image)
    assert "name of an image" in refusal("z.png", "compress", "a.png", "z.png", "--force")


def test_a_failed_overwrite_leaves_the_old_file(refusal, bundle, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    Path("a.png.rdo").write_bytes(b"precious")
    monkeypatch.setattr(codec, "encode_prepared", fail)
    assert "not enough memory" in refusal("a.png", "compress", "a.png", "--force")


# What users get wrong


@pytest.mark.parametrize(
    "about, arguments, cause",
    [
        ("none.png", ["none.png"], "No such file or directory"),
        ("d", ["d"], "is a folder; say with --out-dir where its files are to go"),
        ("bad.png", ["bad.png"], "is damaged"),
        ("b.rdo", ["b.rdo"], "is a compressed file already"),
        ("no/c.rdo", ["a.png", "no/c.rdo"], "the folder no does not exist"),
        ("d", ["a.png", "d"], "is not a regular file"),
        ("x" * 256, ["a.png", "x" * 256], "cannot be written: File name too long"),
        ("no model 'large'", ["a.png", "--model", "large"], "bundled are: standard, tiny"),
        ("no model 'd'", ["a.png", "--model", "d"], "it is no weights file"),
        ("b.rdo", ["a.png", "--model", "b.rdo"], "is no weights file of rdonet_jax"),
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
        ("d", "is a folder"),
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
        ("no model 'none'", ["--model", "none"], "it is no weights file"),
    ],
)
def test_decompress_says_in_one_line_what_is_wrong(refusal, bundle, about, arguments, cause):
    assert cause in refusal(about, "decompress", "b.rdo", *arguments)


def test_a_file_that_claims_too_many_pixels_is_refused_unless_more_are_allowed(
    refusal, rdonet, bundle
):
    cause = refusal("b.rdo", "decompress", "b.rdo", "--max-pixels", 100 * 90 - 1)
    assert cause == "the image has 90 x 100 pixels, more than the limit of 8999"
    assert rdonet("decompress", "b.rdo", "--max-pixels", 100 * 90).code == 0


def test_a_file_may_claim_more_than_the_default_limit_where_the_user_says_so(
    refusal, bundle, compressed, monkeypatch
):
    header, sections = bitstream.parse(compressed)
    claim = dataclasses.replace(header, height=2**14, width=2**16 - 1)
    Path("huge.rdo").write_bytes(bitstream.pack(claim, sections))
    monkeypatch.setattr(system_memory, "available_bytes", lambda: 2**30)
    assert "more than the limit of 134217728" in refusal("huge.rdo", "decompress", "huge.rdo")
    cause = refusal("huge.rdo", "decompress", "huge.rdo", "--max-pixels", 2**30)
    assert "GiB of memory, of which 1.0 GiB are available" in cause


def test_an_image_too_wide_for_the_outputs_format_is_refused_before_the_work(
    refusal, bundle, compressed, monkeypatch
):
    header, sections = bitstream.parse(compressed)
    wide = dataclasses.replace(header, height=1, width=16384)
    Path("wide.rdo").write_bytes(bitstream.pack(wide, sections))
    monkeypatch.setattr(zoo, "load", unreachable)
    assert "WEBP holds no image of 16384x1" in refusal("c.webp", "decompress", "wide.rdo", "c.webp")


def test_any_damaged_byte_is_noticed_before_an_image_is_written(refusal, bundle, compressed):
    for position in range(0, len(compressed), len(compressed) // 12):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x10
        Path("b.rdo").write_bytes(damaged)
        refusal("b.rdo", "decompress", "b.rdo")


def test_an_image_that_cannot_be_written_leaves_no_temporary_file(refusal, bundle, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", deny)
    cause = "cannot be written: Permission denied"
    assert refusal("b.rdo.png", "decompress", "b.rdo") == cause
    assert refusal("a.png.rdo", "compress", "a.png") == cause


def test_a_file_name_of_two_lines_makes_an_error_of_one(rdonet):
    assert rdonet("info", "two\nlines") == (
        1, "", "rdonet: two lines: No such file or directory\n"
    )  # fmt: skip


def test_a_name_cannot_command_the_terminal(rdonet, compressed):
    name = "\x1b[31m\u202egpj\x07.rdo"
    shown = "\\x1b[31m\\u202egpj\\x07.rdo"
    assert rdonet("info", name).err == f"rdonet: {shown}: No such file or directory\n"
    Path(name).write_bytes(compressed)
    assert rdonet("info", name).out.startswith(f"{shown}: 90x100 pixels")
    Path("two\nlines").write_bytes(compressed)
    assert rdonet("info", "two\nlines").out.startswith("two\\nlines: 90x100 pixels")


# Masks


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
        "has 8 rows of 4 levels; an image of 90x100 pixels needs 8 rows of 8, "
        "one level per 16x16 pixels"
    )


def test_a_mistyped_mask_is_refused_with_the_kinds_there_are(refusal, bundle):
    cause = refusal("unifrom-16", "compress", "a.png", "--mask", "unifrom-16")
    assert ", ".join(encode_options.INITS) in cause


def test_a_mask_file_that_holds_no_mask_is_refused(refusal, bundle):
    assert "gray or palette" in refusal("a.png", "compress", "a.png", "--mask", "a.png")


# Models


def test_without_bundled_models_there_is_a_clear_line(refusal, rdonet, empty_bundle):
    cause = refusal("no model 'standard'", "compress", "a.png")
    assert cause == "it is no weights file, and bundled are: none"
    assert rdonet("models") == (0, "no models are bundled with this installation\n", "")


def test_a_file_of_an_unknown_model_is_refused_with_the_id_of_its_weights(
    refusal, empty_bundle, tiny_model
):
    assert refusal("b.rdo", "decompress", "b.rdo") == (
        f"needs the weights {tiny_model.digest.hex()}, which are not bundled; "
        "give their file with --model"
    )


def test_a_model_of_one_quality_is_asked_for_no_other(refusal, bundle):
    assert "quality" in refusal("a.png", "compress", "a.png", "--quality", "30")


def test_a_bundled_model_of_the_same_name_but_another_hash_is_not_used(
    refusal, bundle, other_weights
):
    bundle.update(standard=other_weights, tiny=other_weights)
    assert "which are not bundled" in refusal("b.rdo", "decompress", "b.rdo")


def test_weights_of_another_hash_are_refused(refusal, bundle, tiny_model, other_weights):
    cause = refusal("b.rdo", "decompress", "b.rdo", "--model", other_weights)
    assert f"written with the weights {tiny_model.digest.hex()}, " in cause


def test_a_damaged_bundled_model_is_named(refusal, bundle, tmp_path, tiny_weights):
    bundle["tiny"] = tmp_path / tiny_weights.name
    bundle["tiny"].write_bytes(tiny_weights.read_bytes()[:-1])
    assert "damaged or renamed" in refusal(bundle["tiny"], "models")


# Interruptions


@pytest.mark.parametrize(
    "module, name", [(reader, "load"), (codec, "encode_prepared"), (os, "replace")]
)
def test_an_interrupted_command_leaves_everything_as_it_was(
    rdonet, bundle, folder, monkeypatch, module, name
):
    Path("a.png.rdo").write_bytes(b"precious")
    before = contents(folder)
    monkeypatch.setattr(module, name, interrupt)
    assert rdonet("compress", "a.png", "--force") == (130, "", "rdonet: interrupted\n")
    assert contents(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["nonsense", "cuda"])
@pytest.mark.parametrize(
    "options", [["--model", "tiny"], ["--rdo", "1"], ["--init", "uniform"]], ids=" ".join
)
def test_a_platform_that_is_not_there_is_one_line(folder, tiny_weights, platform, options):
    options = [str(tiny_weights) if option == "tiny" else option for option in options]
    if platform == "cuda" and shutil.which("nvidia-smi"):
        pytest.skip("it may be there")
    before = contents(folder)
    done = subprocess.run(
        [sys.executable, "-m", "rdonet_jax", "compress", "a.png", *options],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rdonet: JAX_PLATFORMS={platform}: ")
    assert done.stderr.count("\n") == 1
    assert contents(folder) == before
