"""The command line as its users meet it: what the commands do, print and leave behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli.commands import comparison
from rdonet_jax.codec import bitstream, codec
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.entropy import range_coder
from rdonet_jax.imaging import srgb
from rdonet_jax.models import param_tree, zoo
from rdonet_jax.rdo import encode_options
from tests.cli.conftest import LEVELS_OF_A_SPLIT_BLOCK
from tests.conftest import ROOT

# Compressing and decompressing


@pytest.mark.slow
def test_compress_writes_the_codecs_bytes_beside_the_image(rdonet, bundle, tiny_model, image):
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


def test_decompress_gives_the_image_that_the_codec_gives(rdonet, bundle, tiny_model, compressed):
    code, out, err = rdonet("decompress", "b.rdo")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"b\.rdo\.png: 90x100 pixels, \d+\.\d s\n", out)
    expected = codec.decompress(tiny_model, compressed)
    np.testing.assert_array_equal(srgb.load("b.rdo.png"), expected)


def test_a_weights_file_stands_in_for_a_bundled_model(rdonet, empty_bundle, tiny_weights):
    assert rdonet("compress", "a.png", "c.rdo", "--model", tiny_weights).code == 0
    assert rdonet("decompress", "c.rdo", "d.bmp", "--model", tiny_weights).code == 0
    assert srgb.load("d.bmp").shape == (100, 90, 3)


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


@pytest.mark.slow
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
        Image.fromarray(LEVELS_OF_A_SPLIT_BLOCK).save("mask.png")
    assert rdonet("compress", "a.png", "--mask", f"mask{suffix}").code == 0
    assert Path("a.png.rdo").read_bytes() == compressed


# Models


def test_models_tells_what_each_was_trained_for_and_how_long(
    rdonet, bundle, tiny_model, other_weights
):
    bundle["tiny"] = other_weights
    first, second = zoo.load("standard").digest.hex(), zoo.load("tiny").digest.hex()
    size = sum(np.size(leaf) for leaf in param_tree.flatten(tiny_model.params).values()) / 1e6
    assert rdonet("models") == (
        0,
        f"standard (default): hash {first}, {size:.2f} M parameters\n"
        "  for most photographs\n"
        "  its training is not on record\n"
        f"tiny: hash {second}, {size:.2f} M parameters\n"
        "  trained for bpp + 0.0067 * 255^2 * MSE, 26000 steps of 8 crops of 256x256 pixels\n"
        "  validation: 0.438 bpp (estimate), 27.27 dB\n",
        "",
    )


def test_models_are_described_for_programs_too(rdonet, bundle, monkeypatch, other_weights):
    monkeypatch.setattr(zoo, "earlier", lambda: {other_weights.stem: other_weights})
    code, out, err = rdonet("models", "--json")
    first, second, third = map(json.loads, out.splitlines())
    assert (code, err) == (0, "")
    assert (first["name"], first["is_default"], first["is_earlier"]) == ("standard", True, False)
    assert (first["purpose"], second["purpose"]) == ("for most photographs", "")
    assert (second["weights"], second["steps"]) == (zoo.load("tiny").digest.hex(), None)
    assert (third["name"], third["is_default"], third["is_earlier"]) == (
        other_weights.stem, False, True
    )  # fmt: skip
    assert (third["steps"], third["validation"]) == (26000, {"bpp": 0.43831, "psnr": 27.2737})


def test_every_bundled_model_says_what_it_is_for():
    assert zoo.bundled().keys() == zoo.PURPOSES.keys()


def test_a_file_says_which_range_coder_decodes_it(rdonet, bundle, coder_name):
    assert rdonet("compress", "a.png", "--coder", coder_name).code == 0
    out = rdonet("info", "a.png.rdo").out
    assert f"format version 2, range coder {coder_name}\n" in out
    assert rdonet("decompress", "a.png.rdo").code == 0
    assert rdonet("decompress", "b.rdo").code == 0


def test_every_range_coder_has_its_name_on_the_command_line(rdonet):
    for name in range_coder.CODERS:
        assert rdonet("compress", "missing.png", "--coder", name).code == 1
    assert rdonet("compress", "missing.png", "--coder", "morse").code == 2


# info


def test_info_accounts_for_every_byte_and_block_without_weights(
    rdonet, empty_bundle, compressed, tiny_model
):
    code, out, err = rdonet("info", "b.rdo")
    assert (code, err) == (0, "")
    heading, version, model, bound, _, *rows = out.splitlines()
    size = len(compressed)
    assert heading == f"b.rdo: 90x100 pixels, {size} bytes, {8 * size / 9000:.4f} bpp"
    assert version == "format version 2, range coder constriction"
    assert model == f"weights {tiny_model.digest.hex()}, which are not bundled"
    assert bound == f"bound to {bitstream.parse(compressed)[0].platform}"
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
    assert "model tiny (weights " in rdonet("info", "b.rdo").out
    assert ", which is bundled\n" in rdonet("info", "b.rdo").out
    bundle.update(standard=other_weights, tiny=other_weights)
    assert ", which are not bundled\n" in rdonet("info", "b.rdo").out


def test_files_of_earlier_releases_are_decoded_and_say_so(
    rdonet, bundle, monkeypatch, tiny_weights, other_weights
):
    bundle.update(standard=other_weights, tiny=other_weights)
    monkeypatch.setattr(zoo, "earlier", lambda: {tiny_weights.stem: tiny_weights})
    said = (
        f"model tiny of an earlier release (weights {tiny_weights.stem[-16:-8]}), which is bundled"
    )
    assert said in rdonet("info", "b.rdo").out
    assert rdonet("decompress", "b.rdo").code == 0
    listed = rdonet("models").out.splitlines()
    assert listed[-1] == f"of earlier releases, for files made with them: {tiny_weights.stem}"
    # By its whole name, an earlier model also compresses: to make old results again.
    assert rdonet("compress", "a.png", "--model", tiny_weights.stem, "--force").code == 0
    assert said in rdonet("info", "a.png.rdo").out


# Quality


def test_a_higher_quality_makes_a_larger_file_that_info_tells_it_of(rdonet, bundle, mini_weights):
    bundle["standard"] = mini_weights
    sizes = []
    for quality in ("0", "37.5", "100"):
        assert rdonet("compress", "a.png", "--quality", quality, "--force").code == 0
        sizes.append(Path("a.png.rdo").stat().st_size)
        assert f"\nquality {quality}, decodes everywhere\n" in rdonet("info", "a.png.rdo").out
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]
    assert rdonet("decompress", "a.png.rdo").code == 0
    assert srgb.load("a.png.rdo.png").shape == (100, 90, 3)


def test_short_options_are_those_of_other_codecs(rdonet, bundle, mini_weights):
    bundle["standard"] = mini_weights
    assert rdonet("compress", "a.png", "c.rdo", "--quality", "30", "--effort", "0").code == 0
    Path("d.rdo").write_bytes(b"old")
    assert rdonet("compress", "-q", "30", "-e", "0", "-f", "a.png", "d.rdo").code == 0
    assert Path("c.rdo").read_bytes() == Path("d.rdo").read_bytes()


@pytest.mark.parametrize(
    ("option", "value", "cause"),
    [
        ("--target-psnr", "-3", "'-3' is no positive number"),
        ("--quality", "-.5", "'-.5' is no number from 0 to 100"),
        ("-q", "-5", "'-5' is no number from 0 to 100"),
    ],
)
def test_a_negative_number_is_the_value_of_the_option_before_it(rdonet, option, value, cause):
    code, _, err = rdonet("compress", "a.png", option, value)
    assert code == 2 and cause in err


@pytest.mark.parametrize("option", ["--quality", "--out-dir"])
def test_an_option_that_looks_like_a_number_is_no_value(rdonet, option):
    code, _, err = rdonet("compress", "a.png", option, "-0")
    assert code == 2 and "expected one argument" in err and not Path("-0").exists()


def test_without_a_quality_it_is_the_middle_one(rdonet, bundle, mini_weights):
    bundle["standard"] = mini_weights
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    assert rdonet("compress", "a.png", "d.rdo", "--quality", "50").code == 0
    assert Path("c.rdo").read_bytes() == Path("d.rdo").read_bytes()


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["explode"], ["compress"], ["info"], ["models", "a"],
        ["compress", "a.png", "b.rdo", "c.rdo"], ["compress", "a.png", "--forc"],
        ["compress", "a.png", "--mask"], ["compress", "a.png", ""], ["compress", ""],
        ["compress", "a.png", "--model", ""], ["decompress", "b.rdo", ""],
        ["decompress", "b.rdo", "--max-pixels", "0"],
        ["decompress", "b.rdo", "--max-pixels", "1e9"], ["compress", "a.png", "--quality", "101"],
        ["compress", "a.png", "--effort", "10"], ["compress", "a.png", "--refine", "-1"],
        ["compress", "a.png", "--refine", "10001"],
        ["compress", "a.png", "--quality", "best"], ["compress", "a.png", "--quality", "nan"],
        ["compress", "a.png", "--quality", "5", "--target-psnr", "30"],
        ["compress", "a.png", "--target-ms-ssim", "1"],
        ["compress", "a.png", "--target-ssimulacra2", "101"],
        ["compress", "a.png", "--target-butteraugli", "0"],
        ["compress", "a.png", "--target-ms-ssim", "0.9", "--target-psnr", "30"],
        ["compress", "a.png", "--target-size", "0"], ["compress", "a.png", "--target-bpp", "few"],
        ["compress", "a.png", "--jobs", "2"], ["compress", "--out-dir", "d"],
        ["decompress", "--list", "names.txt"], ["compress", "a.png", "--quiet", "--json"],
        ["decompress", "b.rdo", "--suffix", ".gif"], ["compress", "a.png", "--target-size", "kB"],
        ["decompress", "b.rdo", "-", "--format", "xyz"],
        ["decompress", "b.rdo", "--out-dir", "out", "--suffix", "gif"],
    ],
)  # fmt: skip
def test_wrong_usage_has_exit_code_2_and_says_how_it_should_be(rdonet, arguments):
    code, out, err = rdonet(*arguments)
    assert (code, out) == (2, "") and not Path("out").exists()
    assert err.startswith("rdonet") and err.endswith(" (see --help)\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "program", "option", "nearest"),
    [
        (["compress", "a.png", "--forc"], "rdonet compress", "--forc", "--force"),
        (["decompress", "b.rdo", "--bakground=red"], "rdonet decompress", "--bakground",
         "--background"),
        (["info", "b.rdo", "--jsn"], "rdonet info", "--jsn", "--json"),
        (["data", "pack", "images", "out", "--knd", "tar"], "rdonet data pack", "--knd", "--kind"),
        (["--versin", "info", "b.rdo"], "rdonet", "--versin", "--version"),
        (["--versin"], "rdonet", "--versin", "--version"),
    ],
)  # fmt: skip
def test_an_unknown_option_names_the_nearest_one_of_its_own_command(
    rdonet, arguments, program, option, nearest
):
    said = f"{program}: there is no option {option}; the nearest is {nearest} (see --help)\n"
    assert rdonet(*arguments) == (2, "", said)


def test_help_names_every_start_of_a_search(rdonet):
    code, out, err = rdonet("compress", "--help")
    assert (code, err) == (0, "")
    assert all(kind in re.sub(r"\s+", " ", out) for kind in encode_options.INITS)


def test_help_names_the_largest_number_of_pixels(rdonet):
    assert f"default: {MAX_PIXELS})" in re.sub(r"\s+", " ", rdonet("decompress", "--help").out)


def test_the_version_is_that_of_the_installed_package(rdonet, monkeypatch):
    monkeypatch.setattr(metadata, "version", {"rdonet-jax": "1.2.3"}.__getitem__)
    assert rdonet("--version") == (0, "rdonet 1.2.3\n", "")


def test_a_source_checkout_has_no_version_but_says_so(rdonet, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert rdonet("--version") == (0, "rdonet (source checkout)\n", "")


@pytest.mark.slow
def test_a_refinement_says_what_it_saved(rdonet, monkeypatch, mini_weights):
    monkeypatch.setattr(zoo, "bundled", lambda: {"standard": mini_weights})
    line = r"refinement: 1 iterations, J [\d.]+ to [\d.]+ \(-[\d.]+%\)"
    assert re.search(line, rdonet("compress", "a.png", "--refine", "1").out)
    facts = json.loads(rdonet("compress", "a.png", "c.rdo", "--refine", "1", "--json").out)
    search = facts["search"]
    assert (search["refinements"], search["evaluations"]) == (1, 0)
    assert search["after"] <= search["before"]
    assert Path("a.png.rdo").read_bytes() == Path("c.rdo").read_bytes()


def test_effort_0_writes_the_file_of_no_options(rdonet, bundle):
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    assert rdonet("compress", "a.png", "d.rdo", "--effort", "0").code == 0
    assert Path("c.rdo").read_bytes() == Path("d.rdo").read_bytes()


@pytest.mark.parametrize("part", [["--rdo", "1"], ["--rdo", "0"], ["--refine", "10"]])
def test_an_effort_goes_without_its_parts(rdonet, bundle, part):
    code, out, err = rdonet("compress", "a.png", "--effort", "3", *part)
    assert (code, out) == (2, "")
    assert "--effort stands for --rdo and --refine: give it, or those" in err


def test_models_that_are_not_refined_say_so(refusal, bundle):
    for option in (["--refine", "5"], ["--effort", "7"]):
        cause = refusal("a.png", "compress", "a.png", *option)
        assert cause.endswith("cannot be refined, only those of portable models")


@pytest.mark.slow
def test_a_search_says_what_it_took_and_what_it_saved(rdonet, bundle, image):
    code, out, err = rdonet("compress", "a.png", "--init", "uniform-64", "--rdo", "1")
    assert (code, err) == (0, "")
    pattern = r"search: (\d+) evaluations in \d+ calls, J [\d.]+ to [\d.]+ \(-[\d.]+%\)"
    assert int(re.search(pattern, out).group(1)) <= 25
    assert rdonet("decompress", "a.png.rdo").code == 0
    assert srgb.load("a.png.rdo.png").shape == image.shape


def test_a_missing_package_is_a_line_of_json_too(rdonet, monkeypatch):
    def without_jax(*_):
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    monkeypatch.setattr(comparison, "compare", without_jax)
    code, out, err = rdonet("compare", "a.png", "a.png", "--json")
    assert code == 1 and "needs jax" in json.loads(out)["error"] and "needs jax" in err
