"""What a training run is set to: a preset, over it a file, over both the command line.

A file has the sections `model`, `training`, `intervals` and `length`, and the name of a `preset`.
All may be missing. The `config.json` of a run is such a file.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rdonet_jax.cli.program import nearest
from rdonet_jax.core import config, presets
from rdonet_jax.core.config import AnyConfig, ConfigError
from rdonet_jax.core.json_values import short_repr
from rdonet_jax.models import registry, zoo
from rdonet_jax.training import fine_tuning
from rdonet_jax.training.config import STARTS, RunLength, TrainingConfig
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.loop import Intervals

DEFAULT_PRESET = "standard"
SECTIONS = ("model", "training", "intervals", "length")
STAGE_STEPS = ("stage1_steps", "stage2_steps")
CLOCK = "minutes"
"""The field of a training that lets it go by the clock; a length is then of its schedule."""
MORE = "more_minutes"
"""The field of a length that says nothing of the whole run, but of what is left of it."""

Values = Mapping[str, Mapping[str, Any]]
"""The fields that are set, by section."""


class Base(NamedTuple):
    """What a model's configuration starts from."""

    preset: str
    model: AnyConfig


class RunSettings(NamedTuple):
    """Everything about a run but where its images lie."""

    preset: str
    model: AnyConfig
    training: TrainingConfig
    intervals: Intervals
    length: RunLength


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but that 3e-4 is a number, as in YAML 1.2 and JSON, and that names are unique."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        names = [(key.tag, key.value) for key in written]
        for number, (key, name) in enumerate(zip(written, names, strict=True)):
            if name in names[:number]:
                problem = f"{short_repr(key.value)} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def _unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Pairs as a dict. Raises ValueError for a name that is there twice."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{short_repr(name)} is there twice")
        found[name] = value
    return found


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read(path: Path) -> dict[str, Any]:
    """The sections of a file, as they are. Raises `ConfigError` for what is no such file."""
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ConfigError(f"{path}: a configuration is a .yaml, .yml or .json file")
    try:
        text = path.read_text(encoding="utf-8")
        values = (
            json.loads(text, object_pairs_hook=_unique)
            if path.suffix == ".json"
            else yaml.load(text, _Loader)
        )
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise ConfigError(f"{path}: is no {kind}: {' '.join(str(error).split())}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: a configuration has named sections, it is not {short_repr(values)}"
        )
    _require_known(path, "a configuration", values, ("preset", *SECTIONS, "origin"))
    for name in SECTIONS:
        if not isinstance(values.get(name, {}), dict):
            raise ConfigError(
                f"{path}: {name} has named fields, it is not {short_repr(values[name])}"
            )
    if "origin" in values:  # written by a run, perhaps before there were all fields
        values["training"] = {**run_dir.BEFORE, **values.get("training", {})}
    return values


def _require_known(path: Path, what: str, values: Mapping[str, Any], known: Any) -> None:
    for name in values:
        if name not in known:
            raise ConfigError(f"{path}: {what} has no {name}; {nearest(str(name), known)}")


def base(preset: Any, family: Any, start: str | None = None) -> Base:
    """The preset of that name; without one, the defaults of the family.

    Without both, it is the network of the weights to start from, a model's name or a file. Without
    those too, it is the preset `standard`. Raises `ConfigError` for names that are unknown, and for
    a preset of another family, and `ZooError` for weights that there are not.
    """
    known = list(registry.FAMILIES)
    if family is not None and family not in known:
        raise ConfigError(f"there is no family {family}; {nearest(str(family), known)}")
    if preset is None and family is not None:
        return Base(family, registry.FAMILIES[family].config())
    if preset is None and start not in (None, *STARTS):
        weights = zoo.load(start)
        return Base(weights.name, weights.config)
    name = DEFAULT_PRESET if preset is None else preset
    if name not in list(presets.PRESETS):
        raise ConfigError(f"there is no preset {name}; {nearest(str(name), presets.PRESETS)}")
    model = presets.preset(name)
    own = registry.family_of(model).name
    if family not in (None, own):
        raise ConfigError(f"the preset {name} is of the family {own}, not {family}")
    return Base(name, model)


def require_own_preset(path: Path, values: Mapping[str, Any], preset: str) -> None:
    """Raises `ConfigError` for another preset than that of a run whose file this is.

    The file has all fields of the run's network, so nothing of the preset would be left.
    """
    if "origin" in values and preset != values.get("preset"):
        raise ConfigError(
            f"{path}: is the configuration of a run, whose network replaces the preset {preset}: "
            "leave --preset out"
        )


def preset_of(values: Mapping[str, Any]) -> Any:
    """The preset that the sections of a file name.

    A file that a run wrote may name the weights that it began with instead. It has all fields of
    its model, so no preset is needed.
    """
    preset = values.get("preset")
    return None if "origin" in values and preset not in list(presets.PRESETS) else preset


def from_file(path: Path, values: Mapping[str, Any], model: type) -> dict[str, dict[str, Any]]:
    """The fields that a file sets, of the types that they have. Raises `ConfigError`."""
    classes = {
        "model": model, "training": TrainingConfig, "intervals": Intervals, "length": RunLength
    }  # fmt: skip
    found = {}
    for section, cls in classes.items():
        fields = dict(values.get(section, {}))
        if section == "model":
            fields.pop(registry.FAMILY_KEY, None)
        known = [
            f.name for f in dataclasses.fields(cls) if (section, f.name) != ("length", "as_before")
        ]
        _require_known(path, section, fields, known)
        try:
            found[section] = config.field_values(cls, fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {section}: {error}") from error
    return found


def fine_tuned(recipe: Mapping[str, Any], file: Values, line: Values) -> tuple[Values, Values]:
    """The fields of the file, over those that fine-tuning sets by its `recipe`, and of the line.

    A whole length is that of the second stage; there is no first. Raises `ConfigError` where
    another start is named.
    """
    for layer in (file, line):
        if "start" in layer.get("training", {}):
            raise ConfigError("--fine-tune names the weights to start from, so --start cannot")
    file, line = _in_stage_2(file), _in_stage_2(line)
    metric = {**file["training"], **line["training"]}.get("metric")
    if metric is not None:
        recipe = fine_tuning.with_metric(recipe, metric)
    if _says_whole(file["length"]):
        recipe = {name: value for name, value in recipe.items() if name not in STAGE_STEPS}
    return {**file, "training": {**recipe, **file["training"]}}, line


def _in_stage_2(layer: Values) -> dict[str, dict[str, Any]]:
    """The fields, with a length of both stages together as one of the second stage."""
    found = {name: dict(fields) for name, fields in layer.items()}
    training, length = found.setdefault("training", {}), found.setdefault("length", {})
    if "steps" in length and not any(name in training for name in STAGE_STEPS):
        training |= {"stage1_steps": 0, "stage2_steps": length.pop("steps")}
    if "epochs" in length:
        length |= {"stage1_epochs": 0.0, "stage2_epochs": length.pop("epochs")}
    return found


def resolved(base: Base, file: Values, line: Values) -> RunSettings:
    """The settings of a run: those of the command line over those of the file over the preset's.

    Raises `ConfigError` for values that do not go together.
    """
    training, length = _with_length(file, line)
    is_said = _says_whole(length) or any(name in training for name in STAGE_STEPS)
    return RunSettings(
        base.preset,
        dataclasses.replace(base.model, **{**file.get("model", {}), **line.get("model", {})}),
        TrainingConfig(**training),
        Intervals(**{**file.get("intervals", {}), **line.get("intervals", {})}),
        RunLength(**length, as_before=not is_said),
    )


def require_effect(settings: RunSettings, given: Iterable[str]) -> None:
    """Raises `ConfigError` for fields of the training that the command line sets to no effect."""
    model, schedule = settings.model, settings.training.schedule
    has_levels = registry.family_of(model).has_levels(model)
    for field in given:
        if field in ("masks", "random_share") and not has_levels:
            raise ConfigError(
                f"{field} is for networks with three levels; one with 16×16 alone has no masks, so "
                "leave it out"
            )
        if field == "final_rate" and schedule == "constant":
            raise ConfigError(
                "final_rate is for a step size that falls, and the schedule 'constant' has none: "
                "leave it out"
            )


def _with_length(file: Values, line: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of training and of the length.

    A length on the command line takes the place of one in the file, in whatever form.
    """
    for layer in (file, line):
        has_stages = any(name in layer.get("training", {}) for name in STAGE_STEPS)
        if has_stages and _says_whole(layer.get("length", {})):
            raise ConfigError("give the length of the run either in both stages' steps or once")
    given, length = dict(file.get("training", {})), dict(file.get("length", {}))
    if any(name in line.get("training", {}) for name in STAGE_STEPS):
        length = {name: value for name, value in length.items() if name == MORE}
    if line.get("length"):
        length = dict(line["length"])
        if _says_whole(length):
            given = {k: v for k, v in given.items() if k not in (*STAGE_STEPS, CLOCK)}
    return {**given, **line.get("training", {})}, length


def _says_whole(length: Mapping[str, Any]) -> bool:
    """Whether the fields of a length say how long the whole run is."""
    return bool(length.keys() - {MORE})
