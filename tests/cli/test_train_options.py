"""The command line of `rdonet train`: fields of configurations, files, and their precedence."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shlex

import pytest

from rdonet_jax.cli.commands import train
from rdonet_jax.cli.options import config_options
from rdonet_jax.core import presets
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.rdonet.family import RDONetFamily
from rdonet_jax.training.config import RunLength, TrainingConfig
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.loop import Intervals
from tests import portable_params

from .train_settings import complaint, settings


def test_without_options_it_is_the_preset_standard():
    found = settings()
    assert (found.preset, found.model) == ("standard", presets.standard())
    assert (found.training, found.intervals) == (TrainingConfig(), Intervals())
    assert found.length == RunLength(as_before=True)


def test_resuming_is_asked_for_always_or_where_there_is_a_run():
    for line, expected in (("", False), ("--resume", True), ("--resume auto", "auto")):
        given = ["--data", "d", "--run", "r", *line.split()]
        assert train.parse(given, "rdonet train")[0].resume == expected


def test_weights_to_start_from_bring_their_network(tmp_path):
    model = presets.mini(hidden=20)
    path = zoo.save(tmp_path, "own", model, portable_params.start(model), {})
    found = settings(f"--start {path}")
    assert (found.preset, found.model, found.training.start) == ("own", model, str(path))
    assert settings(f"--start {path} --model.knots 6").model == model
    assert settings(f"--start {path} --preset mini").model == presets.mini()
    assert settings("--start random").model == presets.standard()


def test_a_run_that_began_with_weights_goes_on_without_them_and_gives_its_configuration(tmp_path):
    model, folder = presets.mini(hidden=20), tmp_path / "run"
    path = zoo.save(tmp_path, "own", model, portable_params.start(model), {})
    line = f"--start {path}"
    begun = settings(line)
    run = run_dir.Run(begun.model, begun.training, begun.preset)
    folder.mkdir()
    (folder / run_dir.CONFIG_FILE).write_text(run.to_json())
    path.unlink()
    assert settings(f"--config {folder / run_dir.CONFIG_FILE}").model == model
    found = train.parse(
        ["--data", "d", "--run", str(folder), "--resume", *shlex.split(line)], "rdonet train"
    )[1]
    assert (found.preset, found.model) == ("own", model)


def test_weights_to_start_from_that_there_are_not_are_named(capsys):
    assert "no model 'nowhere'" in complaint(capsys, "--start nowhere")


def test_every_field_of_a_configuration_is_an_option_with_the_help_of_its_docstring(capsys):
    for preset in presets.PRESETS:
        assert train.main(["--preset", preset, "--help"]) == 0
        said = capsys.readouterr().out
        classes = {
            "model": type(presets.preset(preset)), "training": TrainingConfig,
            "intervals": Intervals, "length": RunLength,
        }  # fmt: skip
        for section, cls in classes.items():
            texts = config_options.descriptions(cls)
            for field in dataclasses.fields(cls):
                assert texts[field.name], (cls, field.name)
                if field.name != "as_before":
                    assert f"--{section}.{field.name.replace('_', '-')}" in said


def test_fields_are_set_by_their_section_and_name():
    found = settings(
        "--preset small --model.latents 32 16 8 --model.padding edge --training.batch-size 64 "
        "--training.resident --intervals.log 3 --length.epochs 2.5"
    )
    assert found.model == presets.small(latents=(32, 16, 8), padding="edge")
    assert (found.training.batch_size, found.training.resident) == (64, True)
    assert (found.intervals.log, found.length) == (3, RunLength(epochs=2.5))


def test_pairs_are_a_row_on_the_command_line(capsys):
    pairs = tuple((float(n), 10.0 * n) for n in range(1, 7))
    row = " ".join(f"{a} {b}" for a, b in pairs)
    assert settings(f"--model.thresholds {row}").model.thresholds == pairs
    assert settings(f"--thresholds {row}").model.thresholds == pairs
    assert "model.thresholds takes groups of 2 values, not 3" in complaint(
        capsys, "--model.thresholds 1 2 3"
    )
    both = "give either --thresholds or --model.thresholds"
    assert both in complaint(capsys, f"--thresholds {row} --model.thresholds {row}")


def test_lists_of_open_length_are_json_on_the_command_line(capsys):
    found = settings("--preset mini --model.channel-groups [[2,4],[],[3]]")
    assert found.model == presets.mini(channel_groups=((2, 4), (), (3,)))
    for value, cause in (
        ("[[4,2],[],[]]", "begin at rising channels after 0"),
        ("[[0],[],[]]", "begin at rising channels after 0"),
        ("[[2],[]]", "channel_groups must be a list of 3 lists of whole numbers"),
        ("[2,3,4]", "channel_groups must be a list of 3 lists of whole numbers"),
        ("[[2", "is no JSON"),
    ):
        assert cause in complaint(capsys, f"--preset mini --model.channel-groups {value}")


def test_the_spellings_without_a_section_are_the_same_options():
    old = "--batch-size 4 --no-resident --stage1-steps 7 --stage2-steps 5 --log-every 9"
    new = (
        "--training.batch-size 4 --no-training.resident --training.stage1-steps 7 "
        "--training.stage2-steps 5 --intervals.log 9"
    )
    assert settings(old) == settings(new)
    assert settings("--steps 30") == settings("--length.steps 30")


def test_minutes_are_a_length_whose_stages_are_shares():
    found = settings("--minutes 9 --stage1-steps 1 --stage2-steps 9 --export-every 2")
    assert (found.training.minutes, found.training.steps) == (9, 10)
    assert found.intervals.export == 2 and not found.length.as_before
    assert settings("--minutes 9").length.as_before  # the shares that a resumed run has
    more = settings("--more-minutes 4").length
    assert more == RunLength(more_minutes=4, as_before=True)


def test_more_minutes_go_with_the_shares_of_the_stages(written):
    found = settings(
        "--minutes 13 --stage1-steps 1000 --stage2-steps 9000 --resume --more-minutes 5"
    )
    assert (found.training.minutes, found.training.steps) == (13, 10000)
    assert found.length == RunLength(more_minutes=5)
    name = written(
        "training: {minutes: 13, stage1_steps: 1, stage2_steps: 9}\nlength: {more_minutes: 5}"
    )
    assert settings(f"--config {name}").length == RunLength(more_minutes=5)
    found = settings(f"--config {name} --stage1-steps 2 --stage2-steps 6")
    assert (found.training.minutes, found.training.steps) == (13, 8)
    assert found.length == RunLength(more_minutes=5)


def test_more_minutes_do_not_let_the_length_be_given_twice(capsys):
    line = "--stage1-steps 1 --stage2-steps 9 --steps 7 --more-minutes 5"
    assert "either in both stages' steps or once" in complaint(capsys, line)


def test_a_length_in_steps_takes_the_place_of_minutes_in_a_file(written):
    name = written("training: {minutes: 9, stage1_steps: 1, stage2_steps: 9}")
    assert settings(f"--config {name}").training.minutes == 9
    assert settings(f"--config {name} --more-minutes 3").training.minutes == 9
    by_steps = settings(f"--config {name} --steps 100")
    assert (by_steps.training.minutes, by_steps.length.steps) == (0, 100)


FILE = """
preset: small
model:
  latents: [32, 32, 32]
training:
  learning_rate: 3e-4   # a number, though YAML 1.1 takes it for a text
  lmbda: 0.01
  batch_size: 64
intervals: {log: 7}
length: {epochs: 3}
"""


def test_a_file_goes_over_the_preset_and_the_command_line_over_the_file(written):
    name = written(FILE)
    found = settings(f"--config {name}")
    assert (found.preset, found.model) == ("small", presets.small(latents=(32, 32, 32)))
    expected = TrainingConfig(learning_rate=3e-4, lmbda=0.01, batch_size=64)
    assert (found.training, found.intervals.log) == (expected, 7)
    found = settings(f"--config {name} --lmbda 0.02 --model.latents 8 8 8 --log-every 1")
    assert (found.training.lmbda, found.training.batch_size) == (0.02, 64)
    assert (found.model.latents, found.intervals.log) == ((8, 8, 8), 1)
    other = settings(f"--config {name} --preset paper")
    assert (other.preset, other.model) == ("paper", presets.paper(latents=(32, 32, 32)))


def test_names_of_yaml_may_be_merged_from_elsewhere(written):
    text = "training: {<<: {crop: 64, lmbda: 0.5}, lmbda: 0.01}"
    found = settings(f"--config {written(text)}").training
    assert (found.crop, found.lmbda) == (64, 0.01)


def test_a_length_on_the_command_line_takes_the_place_of_the_files(written):
    name = written(FILE)
    assert settings(f"--config {name}").length == RunLength(epochs=3)
    assert settings(f"--config {name} --steps 5").length == RunLength(steps=5)
    found = settings(f"--config {name} --stage1-steps 5 --stage2-steps 6")
    assert found.length == RunLength()
    assert (found.training.stage1_steps, found.training.stage2_steps) == (5, 6)


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_what_a_run_stored_can_be_given_again(written, preset):
    training = TrainingConfig(stage1_steps=5, stage2_steps=3, metric="both", seed=3)
    stored = run_dir.Run(presets.preset(preset), training, preset)
    found = settings(f"--config {written(stored.to_json(), 'config.json')}")
    assert run_dir.Run(found.model, found.training, found.preset) == stored
    assert found.length == RunLength()


def test_a_run_from_before_a_field_is_given_again_as_it_was(written):
    stored = run_dir.Run(presets.tiny(), TrainingConfig(cut_share=0.0), "tiny")
    values = json.loads(stored.to_json())
    del values["training"]["cut_share"]
    found = settings(f"--config {written(json.dumps(values), 'config.json')}")
    assert found.training == stored.training


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--batch-sise 4", "there is no option --batch-sise; the nearest is --batch-size"),
        (
            "--trainig.lmbda=4",
            "there is no option --trainig.lmbda; the nearest is --training.lmbda",
        ),
        ("--model.latent 1 2 3", "the nearest is --model.latents"),
        ("--latents 1 2 3", "the nearest is --model.latents"),
        ("--preset smal", "there is no preset smal; the nearest is small"),
        ("--model.family portabel", "there is no family portabel; the nearest is portable"),
        ("--preset small --model.family portable", "is of the family rdonet, not portable"),
        ("--batch-size many", "invalid int value: 'many'"),
        ("--preset small --model.latents 1 2", "expected 3 arguments"),
        ("--metric msee", "invalid choice: 'msee'"),
        ("--lmbda nan", "lmbda must be positive"),
        ("--config nothing.yaml", "nothing.yaml: No such file"),
        ("--config run.txt", "run.txt: a configuration is a .yaml, .yml or .json file"),
        ("surplus more", "unexpected arguments: surplus more"),
        ("--resume more", "argument --resume: invalid choice: 'more'"),
        ("--valid --seed 3", "argument --valid: expected at least one argument"),
        ("--data a --run r --export-to w", "--export-to says where --export-every writes"),
        ("--schedule constant --final-rate 0.1", "final_rate is for a step size that falls"),
        ("--preset mbt2018-tiny --masks two-stage", "masks is for networks with three levels"),
        (
            "--preset compact-one-level --random-share 0.1",
            "random_share is for networks with three",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(capsys, line, words):
    assert words in complaint(capsys, line)


def test_what_a_file_sets_to_no_effect_is_left_as_it_is(written):
    file = written("training: {schedule: constant, final_rate: 0.1}")
    assert settings(f"--config {file}").training.final_rate == 0.1
    line = f"--config {file} --schedule linear --final-rate 0.2"
    assert settings(line).training.final_rate == 0.2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainig: {}", "a configuration has no trainig; the nearest is training"),
        ("training: {batchsize: 3}", "training has no batchsize; the nearest is batch_size"),
        ("preset: small\nmodel: {latens: 3}", "model has no latens; the nearest is latents"),
        ("length: {as_before: true}", "length has no as_before"),
        ("training: {batch_size: many}", "training: batch_size must be a whole number, not 'many'"),
        ("length: {epochs: many}", "length: epochs must be a finite number, not 'many'"),
        ("preset: small\nmodel: {latents: 3}", "latents must be a list of 3 whole numbers, not 3"),
        ("training: 3", "training has named fields, it is not 3"),
        ("[1]", "a configuration has named sections"),
        ("preset: smal", "there is no preset smal; the nearest is small"),
        ("preset: [1]", "there is no preset [1]"),
        ("model: {family: [1]}", "there is no family [1]"),
        ("training: {stage1_steps: 3}\nlength: {steps: 4}", "either in both stages' steps or once"),
        ("training: {lmbda: -1}", "lmbda must be positive"),
        ("a: [", "is no YAML"),
        ("training: {crop: 64}\ntraining: {lmbda: 1}", "is no YAML: 'training' is there twice"),
        ("training: {crop: 64, crop: 128}", "is no YAML: 'crop' is there twice"),
        ("preset: small\norigin: {}", "leave --preset out"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(capsys, written, text, words):
    preset = "--preset tiny" if "origin" in text else ""
    assert words in complaint(capsys, f"--config {written(text)} {preset}")


def test_data_and_run_are_asked_for_after_typos(capsys):
    for line, words in (("--run r", "--data is missing"), ("--data d", "--run is missing")):
        assert train.main(line.split()) == 2
        assert words in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class OwnConfig:
    """A configuration of one's own.

    Attributes:
      width: of everything.
      note: what is not to be forgotten.
    """

    width: int = 3
    note: str | None = None


class OwnFamily(RDONetFamily):
    """A family of one's own."""

    name = "own"
    config = OwnConfig


def test_the_fields_of_a_registered_family_are_options_as_well(monkeypatch, written, capsys):
    monkeypatch.setitem(registry.FAMILIES, "own", OwnFamily())
    found = settings("--model.family own --model.width 5 --model.note here")
    assert (found.preset, found.model) == ("own", OwnConfig(5, "here"))
    found = settings(f"--config {written('model: {family: own, width: 4, note: null}')}")
    assert found.model == OwnConfig(4)
    assert "the nearest is --model.width" in complaint(capsys, "--model.family own --model.widht 5")


def test_without_grain_training_says_so_and_makes_no_folder(tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "grain" else find_spec(name)
    )
    (tmp_path / "photographs").mkdir()
    options = ["--preset", "tiny", "--data", str(tmp_path / "photographs")]
    assert train.main([*options, "--run", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'rdonet-jax[train]'" in said
    assert not (tmp_path / "run").exists()
