"""Options of `rdonet eval`: which need another, which exclude each other, what is documented."""

from __future__ import annotations

import re
import shlex

import pytest

from rdonet_jax.cli.options import eval_options
from tests.conftest import ROOT

MODEL = ["--data", "a", "--model", "b"]
ANCHORS = ["--data", "a", "--anchors", "jpeg"]
RESULTS = ["--results", "a.json"]
DRAWN = "--bd-rate or --plot or --quality-plot or --report"
DOCUMENTS = ["README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/**/README.md")]


def parsed(*arguments: str):
    return eval_options.parse(arguments, "rdonet eval", "")


def documented() -> list[str]:
    """The command lines in the documents, in full."""
    texts = [(ROOT / name).read_text().replace("\\\n", " ") for name in DOCUMENTS]
    return [line for text in texts for line in re.findall(r"^    rdonet eval (.*)$", text, re.M)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --model, --anchors or --results"),
        (RESULTS, f"--results needs {DRAWN} or --merge"),
        (
            [*RESULTS, "--merge"],
            f"--merge needs --out or {DRAWN}",
        ),
        (["--model", "tiny"], "--model needs --data"),
        (["--anchors", "jpeg"], "--anchors needs --data"),
        ([*RESULTS, "-o", "b.json"], "--out needs --model or --anchors or --merge"),
        ([*RESULTS, "--data", "a"], "--data needs --model or --anchors"),
        ([*RESULTS, "--per-image"], "--per-image needs --model or --anchors"),
        ([*RESULTS, "--metrics", "ssimulacra2"], "--metrics needs --model or --anchors"),
        ([*RESULTS, "--merge", "--estimate"], "--estimate needs --model"),
        ([*RESULTS, "--mask", "static"], "--init needs --model"),
        ([*ANCHORS, "--quality", "20"], "--quality needs --model"),
        ([*ANCHORS, "--rdo", "0"], "--rdo needs --model"),
        ([*ANCHORS, "--init", "variance"], "--init needs --model"),
        ([*ANCHORS, "--effort", "0"], "--effort needs --model"),
        ([*ANCHORS, "--join", "a"], "--join needs --model"),
        ([*ANCHORS, "--keep", "a"], "--keep needs --model"),
        ([*ANCHORS, "--save-decoded", "a"], "--save-decoded needs --model"),
        ([*ANCHORS, "--coder", eval_options.DEFAULTS["coder"]], "--coder needs --model"),
        ([*ANCHORS, "--equal-rate"], "--equal-rate needs --model"),
        ([*MODEL, "--equal-rate"], "--equal-rate needs --anchors"),
        ([*MODEL, "--bpp", "0.1", "1"], "--bpp needs --anchors"),
        ([*MODEL, "--files"], "--files needs --estimate"),
        ([*MODEL, "--batch-size", "0"], "--batch-size needs --estimate"),
        ([*MODEL, "--report-images", "0"], "--report-images needs --report"),
        ([*MODEL, "--report-pictures", "0"], "--report-images needs --report"),
        ([*RESULTS, "--report", "a", "--report-images", "4"], "--report-images needs --model"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(*arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"rdonet eval: {message} (see --help)\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*ANCHORS, "--shard", "1/2"], "--shard is for models"),
        ([*MODEL, "--merge"], "--merge joins the shards"),
        ([*MODEL, "--effort", "0", "--rdo", "0"], "--effort stands for --rdo and for more"),
        ([*MODEL, *ANCHORS, "--equal-rate", "--bpp", "0.1", "1"], "exclude each other"),
        ([*ANCHORS, "--bpp", "1", "0.1"], "a lower and a higher rate"),
        ([*MODEL, "--estimate", "--coder", "tfc"], "--estimate writes no files, so --coder"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parsed(*arguments)
    assert message in capsys.readouterr().err


def test_what_is_not_given_has_its_default():
    options = parsed(*MODEL)
    assert {name: getattr(options, name) for name in eval_options.DEFAULTS} == dict(
        eval_options.DEFAULTS
    )
    options = parsed(*MODEL, "--quality", "20", "--estimate", "--batch-size", "3")
    assert (options.quality, options.batch_size) == ([20.0], 3)


def test_the_coder_is_that_of_files_and_of_the_report():
    for more in (["--files"], ["--report", "a.html"]):
        assert parsed(*MODEL, "--estimate", "--coder", "tfc", *more).coder == "tfc"


def test_every_documented_command_line_is_accepted():
    lines = documented()
    assert len(lines) > 15
    for line in lines:
        parsed(*shlex.split(line, comments=True))
