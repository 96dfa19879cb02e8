"""--import: modules of the user's own register what a command then knows."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from rdonet_jax.cli import extensions
from rdonet_jax.cli.commands import eval as evaluation
from rdonet_jax.cli.commands import train
from rdonet_jax.core import presets
from rdonet_jax.metrics import loss, quality
from rdonet_jax.rdo import initial_masks
from tests.conftest import ROOT

MODULE = """
import functools

import jax.numpy as jnp
import numpy as np

from rdonet_jax import rdo
from rdonet_jax.core import partition, presets
from rdonet_jax.metrics import loss, quality


class Absolute(loss.PixelDistortion):
    name = "absolute"
    words = "255 * MAE"
    unit = 255.0
    least_lmbda = 0.01
    usual_lmbda = 0.17

    def of_pixels(self, x, x_hat):
        return jnp.mean(jnp.abs(x - x_hat), axis=-1)


def coarse(model, image, q):
    return partition.uniform(2, partition.block_grid(*image.shape[:2]))


def mae(a, b):
    return np.mean(np.abs(a.astype(float) - b))


loss.register(Absolute())
presets.register("thin", functools.partial(presets.tiny, latents=(6, 6, 6)))
rdo.register_mask("coarse", coarse)
quality.register(quality.QualityMetric("mae", "MAE", mae, higher_is_better=False, decimals=3))
"""


@pytest.fixture
def module(folder, monkeypatch):
    """A module in the current folder, with registries and modules as they were at the end."""
    Path("own_parts.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with contextlib.ExitStack() as stack:
        for registry in (loss.DISTORTIONS, initial_masks.INITS, quality.METRICS, presets.PRESETS):
            stack.enter_context(mock.patch.dict(registry))
        yield "own_parts"
    sys.modules.pop("own_parts", None)


def levels(text: str) -> str:
    return re.search(r"levels 16/32/64: (.*?),", text)[1]


def test_a_mask_of_a_module_in_this_folder_codes_an_image(rdonet, bundle, module):
    code, out, err = rdonet("compress", "a.png", "--import", module, "--init", "coarse")
    assert (code, err) == (0, "")
    assert levels(out) == "0% / 0% / 100%"


def test_a_module_is_also_named_by_its_file_which_may_lie_elsewhere(rdonet, bundle, module):
    Path("below").mkdir()
    shutil.move("own_parts.py", "below")
    line = ("compress", "a.png", "--import=below/own_parts.py", "--init", "coarse", "--force")
    assert rdonet(*line).code == 0
    assert rdonet(*line).code == 0  # which imports nothing again


def test_without_the_import_the_mask_is_refused(refusal, bundle, module):
    said = refusal("coarse", "compress", "a.png", "c.rdo", "--init", "coarse")
    assert said.startswith("is neither a mask file nor one of variance")


def test_metrics_of_a_module_are_compared(rdonet, bundle, module):
    line = ("compare", "a.png", "a.png", "--import", module, "--metric", "mae")
    code, out, _ = rdonet(*line)
    assert code == 0
    assert "MAE 0.000" in out
    assert json.loads(rdonet(*line, "--json").out)["metrics"] == {"mae": 0.0}


def test_decompress_imports_as_well(rdonet, bundle, module):
    assert rdonet("decompress", "b.rdo", "--import", module).code == 0
    assert module in sys.modules


def test_every_one_of_many_files_is_done_with_the_import(rdonet, bundle, module):
    shutil.copy("a.png", "c.png")
    line = ("compress", "a.png", "c.png", "--out-dir", "o", "--import", module, "--init", "coarse")
    assert rdonet(*line).code == 0
    assert sorted(path.name for path in Path("o").iterdir()) == ["a.png.rdo", "c.png.rdo"]


def test_work_for_another_process_imports_before_it_begins(module):
    def work(source, target, library, show_progress):
        assert "coarse" in initial_masks.INITS
        return source, target, library, show_progress

    sent = extensions.in_workers([module], work)
    assert "coarse" not in initial_masks.INITS
    assert sent("a", "b", None, False) == ("a", "b", None, False)


def test_training_knows_metrics_and_presets_of_a_module(module):
    line = ["--data", "d", "--run", "r", "--import", module, "--preset", "thin"]
    line += ["--metric", "absolute", "--lmbda", "0.17", "--start", "random"]
    extensions.import_named(line, "rdonet train")
    settings = train.parse(line, "rdonet train")[1]
    assert settings.model.latents == (6, 6, 6)
    assert settings.training.metric == "absolute"


@pytest.mark.slow
def test_a_run_its_weights_and_an_evaluation_by_the_commands(folder, module, capsys):
    Path("photographs").mkdir()
    for name in "ab":
        shutil.copy("a.png", f"photographs/{name}.png")
    line = ["--data", "photographs", "--run", "run", "--import", module, "--preset", "thin"]
    line += ["--metric", "absolute", "--lmbda", "0.17", "--start", "random", "--stage1-steps", "1"]
    line += ["--stage2-steps", "0", "--batch-size", "1", "--crop", "64"]
    assert train.main(line) == 0
    assert train.main(["export", "run", "own", "--import", module]) == 0
    [weights] = Path(".").glob("own-*.safetensors")
    line = ["--data", "photographs", "--model", str(weights), "--import", module]
    capsys.readouterr()
    assert evaluation.main([*line, "--init", "coarse"]) == 0
    said = capsys.readouterr().out
    assert "MAE" in said and "coarse mask" in said


@pytest.mark.slow
def test_a_process_of_its_own_imports_it(folder, module):
    shutil.copy(Path(module + ".py"), "more_parts.py")
    command = [sys.executable, str(ROOT / "train.py"), "--import", "more_parts.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\{mse,ms-ssim,both,absolute\}", done.stdout)
    assert "thin (default" in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("nowhere", None, "there is no such module among the installed ones and in this folder"),
        ("nowhere.py", None, "No such file or directory"),
        ("wrong_name.py", "import numpy\n\nx = undefined\n", "{file}:3: NameError: name "),
        ("wrong_syntax.py", "def f(:\n", "{file}:1: invalid syntax"),
        ("wrong_import.py", "import nowhere\n", "{file}:1: ModuleNotFoundError: No module named"),
        ("json.py", "", "another module is called json, so the file needs"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence_with_its_line(
    refusal, folder, bundle, monkeypatch, name, text, said
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    if text is not None:
        Path(name).write_text(text)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    line = refusal(f"--import {name}", "compress", "a.png", "c.rdo", "--import", name)
    assert said.format(file=folder / name) in line


def test_a_name_that_is_registered_twice_is_named_with_its_line(refusal, bundle, module):
    text = "import rdonet_jax.rdo as rdo\n\nrdo.register_mask('variance', print)\n"
    Path("taken.py").write_text(text)
    sys.modules.pop("taken", None)
    line = ("compress", "a.png", "c.rdo", "--import", "taken.py")
    with mock.patch.object(sys, "dont_write_bytecode", True):
        said = refusal("--import taken.py", *line)
    assert "taken.py:3: ValueError: there is a mask 'variance' already" in said


def test_a_preset_has_one_name(module):
    extensions.import_all([module])
    with pytest.raises(ValueError, match="there is a preset 'thin' already"):
        presets.register("thin", presets.tiny)


def test_train_and_eval_end_with_one_line_where_there_is_no_such_module(capsys):
    for command in (train.main, evaluation.main):
        assert command(["--import", "nowhere"]) == 1
        said = capsys.readouterr().err
        assert "--import nowhere: there is no such module" in said and said.count("\n") == 1


def test_an_option_without_its_module_is_wrong_usage(capsys):
    assert train.main(["--import"]) == 2
    assert "expected one argument" in capsys.readouterr().err
