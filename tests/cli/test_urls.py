"""Which options of `rdonet train` and `rdonet eval` take URLs, and what the others say."""

from __future__ import annotations

import json

import pytest

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.cli.commands import train
from rdonet_jax.core import urls
from rdonet_jax.evaluation import curves
from tests import curve_samples


def refusal(main, capsys, *line: str) -> str:
    assert main(line) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("option", ["--keep", "--save-decoded", "--plot", "--report"])
def test_options_that_need_a_local_path_refuse_urls(option, capsys):
    line = ["--data", "d", "--model", "standard", option, "s3://bucket/x"]
    said = refusal(eval_command.main, capsys, *line)
    assert f"{option}: s3://bucket/x is a URL, and a local path is needed here" in said


def test_a_configuration_is_a_local_file(capsys):
    said = refusal(train.main, capsys, "--config", "s3://bucket/run.yaml")
    assert "s3://bucket/run.yaml is a URL" in said


def test_results_are_written_to_a_store_once_and_read_from_there(store, capsys):
    part, whole = urls.join(store, "part.json"), urls.join(store, "whole.json")
    curve = curve_samples.curve("a", shard=[1, 1])
    curves.write(part, [curve])
    assert curves.read(part)[0].points[0].mean.bpp == curve.points[0].mean.bpp
    line = ["--results", part, "--merge", "-o", whole]
    assert eval_command.main(line) == 0
    assert json.loads(urls.read(whole))["name"] == "a"
    said = refusal(eval_command.main, capsys, *line)
    assert f"{whole}: exists already and is not overwritten without --force" in said
    assert eval_command.main([*line, "--force"]) == 0


def test_a_model_that_is_not_in_a_store_is_a_sentence(store, capsys):
    url = urls.join(store, "x-0123456789abcdef.safetensors")
    said = refusal(eval_command.main, capsys, "--data", "d", "--model", url, "--estimate")
    assert f"{url}: there is no such file or bucket" in said
    assert "Traceback" not in said
