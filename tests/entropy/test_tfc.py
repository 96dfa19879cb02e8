"""How TensorFlow comes and goes: only when asked for, silent, off the GPUs, or missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rdonet_jax.cli import main as cli_main
from rdonet_jax.codec import codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.entropy import distributions, range_coder, tfc
from rdonet_jax.evaluation import real_files
from rdonet_jax.models import zoo
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from tests.conftest import ROOT
from tests.golden import make as golden

LAPLACE = distributions.scale_tables("laplace")


@pytest.fixture
def tensorflow():
    try:
        return tfc.load()[0]
    except tfc.LoadError as error:
        pytest.skip(f"TensorFlow Compression {error}")


@pytest.fixture
def without_tensorflow(monkeypatch):
    tfc.load.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    yield
    tfc.load.cache_clear()


def run(script: str) -> str:
    """What a fresh process prints, which must print no complaints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_tensorflow_is_not_imported_by_those_who_do_not_ask_for_it():
    script = """
import sys
import numpy as np
from rdonet_jax.cli import main as cli_main
from rdonet_jax.codec import codec
from rdonet_jax.entropy import distributions, range_coder
from rdonet_jax.evaluation import real_files
run = np.zeros(9, np.int32), np.zeros(9, np.int32)
assert range_coder.encode([run], distributions.scale_tables("laplace"), "constriction")
print("tensorflow" in sys.modules)
"""
    assert run(script) == "False\n"


def test_tensorflow_is_silent_and_sees_no_gpus(tensorflow):
    script = """
import os
import numpy as np
from rdonet_jax.entropy import distributions, range_coder, tfc
before = dict(os.environ)
tables = distributions.scale_tables("laplace")
run = np.arange(-9, 9), np.full(18, 9)
data = range_coder.encode([run], tables, "tfc")
assert (range_coder.decoder(data, tables, "tfc")(run[1]) == run[0]).all()
assert os.environ == before
tensorflow, _ = tfc.load()
print({device.device_type for device in tensorflow.config.get_visible_devices()})
"""
    assert run(script) == "{'CPU'}\n"


def test_gpus_are_hidden_before_the_first_op(tensorflow, monkeypatch):
    hidden = []
    monkeypatch.setattr(tensorflow.config, "set_visible_devices", lambda *a: hidden.append(a))
    tfc.load.cache_clear()
    tfc.load()
    assert hidden == [([], "GPU")]


def test_a_tensorflow_that_already_runs_keeps_its_devices(tensorflow, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tensorflow.config, "set_visible_devices", refuse)
    tfc.load.cache_clear()
    tfc.load()


def test_bytes_at_which_the_ops_own_escapes_never_end_are_decoded(tensorflow):
    for data in (b"\xff\xff", b"\xff" * 9):
        assert range_coder.decoder(data, LAPLACE, "tfc")(np.zeros(50, np.int32)).shape == (50,)


MISSING = (
    "the range coder tfc needs TensorFlow Compression, which is not installed: "
    "pip install 'rdonet-jax[tfc]', on Python 3.11 or 3.12"
)


def test_a_missing_coder_says_what_to_install(without_tensorflow):
    for use in (
        lambda: range_coder.require("tfc"),
        lambda: range_coder.encode([], LAPLACE, "tfc"),
        lambda: range_coder.decoder(b"", LAPLACE, "tfc"),
    ):
        with pytest.raises(range_coder.MissingCoderError) as raised:
            use()
        assert str(raised.value) == MISSING
    range_coder.require("constriction")


def test_a_coder_that_does_not_load_says_why(without_tensorflow, monkeypatch):
    class Broken:
        def find_spec(self, name, *_):
            if name == "tensorflow":
                raise TypeError("Descriptors cannot be created directly.\nIf this call came ...")

    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(
        range_coder.MissingCoderError, match=r"loaded \(Descr.*directly\.\): pip install"
    ):
        range_coder.require("tfc")


def test_the_codec_refuses_to_work_with_a_missing_coder(
    without_tensorflow, mini_model, photograph, monkeypatch
):
    image = photograph[:64, :64]
    p = codec.choose_partition(mini_model, image, "uniform-64")
    with pytest.raises(EncodeError) as refused:
        codec.encode(mini_model, image, p, coder_name="tfc")
    assert str(refused.value) == MISSING
    with pytest.raises(EncodeError, match="not installed"):
        encoder.encode(mini_model, image, EncodeOptions(plan=Plan(passes=1), coder="tfc"))
    with pytest.raises(real_files.EvaluationError, match="not installed"):
        images = [real_files.NamedImage("a.png", image)]
        settings = real_files.Settings(coder="tfc")
        next(real_files.code_all(mini_model, images, settings, Path()))


def test_a_file_whose_coder_is_missing_says_what_to_install(
    without_tensorflow, tmp_path, monkeypatch, capsys
):
    data = golden.FILES["tfc"].read_bytes()
    with pytest.raises(codec.FormatError) as refused:
        codec.decode(zoo.load(str(golden.weights_file())), data)
    assert str(refused.value) == MISSING
    monkeypatch.chdir(tmp_path)
    Path("a.rdo").write_bytes(data)
    for command in (["info", "a.rdo"], ["decompress", "a.rdo", "--model", golden.weights_file()]):
        assert cli_main.main(list(map(str, command))) == 1
        assert capsys.readouterr() == ("", f"rdonet: a.rdo: {MISSING}\n")
