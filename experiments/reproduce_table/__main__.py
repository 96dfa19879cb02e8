"""Trains and compares the baseline, Basic RDONet and RDONet-Var: docs/study.md.

python -m experiments.reproduce_table --budget cpu --data DIR --valid DIR --test DIR --out FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments.reproduce_table import budgets, drawings, evaluations, stored, tables, trainings
from experiments.reproduce_table.stored import StudyError
from rdonet_jax.cli import program
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import config
from rdonet_jax.evaluation import curves, real_files
from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.models import zoo
from rdonet_jax.rdo.encode_options import MAX_PASSES
from rdonet_jax.training import divergence
from rdonet_jax.training.folder import checkpoints, run_dir
from rdonet_jax.training.run import Sources

VALIDATION = "validation"
"""The name of the set of validation images."""

EXPECTED = (
    checkpoints.CheckpointError,
    EncodeError,
    config.ConfigError,
    divergence.DivergenceError,
    ImageError,
    dataset.DatasetError,
    run_dir.RunError,
    StudyError,
    trainings.InterruptedStudy,
    zoo.ZooError,
)
"""Errors that are reported in one line."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce_table", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--budget", required=True, choices=list(budgets.BUDGETS))
    parser.add_argument("--data", nargs="+", required=True, help="folders of training images")
    parser.add_argument("--valid", nargs="+", required=True, help="folders of validation images")
    parser.add_argument(
        "--test", nargs="+", required=True, help="folders of test images, a table each"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the results; the same command continues"
    )
    parser.add_argument(
        "--passes", type=int, choices=range(MAX_PASSES + 1), default=MAX_PASSES,
        help="of the search, at most (default: %(default)s); evaluations that exist stay as they "
        "are",
    )  # fmt: skip
    parser.add_argument(
        "--contestants", nargs="+", choices=list(evaluations.STARTS), metavar="NAME",
        help="which to train and to evaluate, the reference among them (default: all)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def image_sets(options: argparse.Namespace) -> dict[str, list[str]]:
    """The folders of each set of images to evaluate, by its name: that of the folder of a test.

    Raises `StudyError` for two of a name.
    """
    sets: dict[str, list[str]] = {}
    for folder in options.test:
        name = Path(folder).resolve().name
        if name in (*sets, VALIDATION):
            raise StudyError(f"{folder}: another set of images is called {name!r} too")
        sets[name] = [folder]
    return {**sets, VALIDATION: options.valid}


def claim(options: argparse.Namespace, budget: budgets.Budget) -> None:
    """Records the budget of the study. Raises `StudyError` if the folder has another study.

    The contestants are not recorded: others can join later.
    """
    recorded = json.loads(json.dumps(dataclasses.asdict(budget)))
    del recorded["contestants"]
    target = options.out / "study.json"
    if target.exists() and stored.read(target).get("budget") != recorded:
        raise StudyError(f"{options.out}: holds a study of another budget")
    options.out.mkdir(parents=True, exist_ok=True)
    described = {"budget": recorded, "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    curves.write_json(target, described, force=True)


def trained(options: argparse.Namespace, budget: budgets.Budget) -> None:
    """Runs all trainings, lambda by lambda, and fits the thresholds."""
    sources = Sources(options.data, options.valid)
    for lmbda in budget.lmbdas:
        for part in budgets.parts(budget, lmbda):
            if not trainings.finished(options.out, part.name):
                _say(f"training {part.name}: {part.schedule.steps} steps")
            trainings.train(options.out, part, sources)
        if budget.fit_images:
            paths = evaluations.chosen(real_files.named_images(options.valid), budget.fit_images)
            for contestant in budget.contestants:
                if "variance" in evaluations.STARTS[contestant]:
                    _say(f"thresholds of {contestant} on {len(paths)} images")
                    trainings.fit(options.out, budgets.named(contestant, lmbda), paths.values())


def evaluated(
    out: Path, budget: budgets.Budget, which: str, folders: Sequence[str], passes: int
) -> tables.Results:
    """The results of all columns on a set of images."""
    paths = evaluations.chosen(real_files.named_images(folders), budget.max_images)
    found: dict[str, dict] = {}
    for contestant in budget.contestants:
        by_point = []
        for point in budget.points:
            target = out / "evaluations" / which / f"{point_name(contestant, point)}.json"
            if not target.exists():
                _say(f"evaluating {target.stem} on {which}: {len(paths)} images")
            weights = trainings.evaluated_weights(out, budgets.named(contestant, point.lmbda))
            by_point.append(
                evaluations.evaluate(target, weights, contestant, paths, point.quality, passes)
            )
        found |= tables.joined(by_point)
    return found


def point_name(contestant: str, point: budgets.Point) -> str:
    """The name of the files of an evaluation."""
    name = budgets.named(contestant, point.lmbda)
    return name if point.quality is None else f"{name}_{round(point.quality):03d}"


def report(
    out: Path, budget: budgets.Budget, which: str, folders: Sequence[str], passes: int
) -> None:
    """Writes table, curves and masks of a set of images."""
    found = evaluated(out, budget, which, folders, passes)
    target = out / f"{which}.json"
    curves.write_json(target, tables.to_json(found), force=True)
    parts = [tables.table(found, metric) for metric in tables.METRICS]
    labels = [point.label for point in budget.points]
    text = "\n\n".join([*parts, tables.cost_table(found, labels)])
    (out / f"{which}.md").write_text(text + "\n")
    for metric in tables.METRICS:
        for suffix in ("svg", "png"):
            drawings.draw_curves(found, metric, out / f"{which}-{metric}.{suffix}")
    first = next(iter(real_files.named_images(folders).values()))
    maps = [
        out / "evaluations" / which / f"{point_name('var', point)}.npz" for point in budget.points
    ]
    shown = [column for column in evaluations.columns("var", passes) if "variance" in column]
    drawings.draw_masks(first, maps, shown, out / f"{which}-masks.png")
    print(f"{which}:\n{text}", flush=True)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong, 130 after Ctrl-C."""
    options = parse(arguments)
    return program.exit_code(lambda: run(options), EXPECTED, "reproduce_table")


def run(options: argparse.Namespace) -> int:
    """The study. Raises what is `EXPECTED`, and OSError."""
    budget = budgets.BUDGETS[options.budget]
    if options.contestants:
        chosen = tuple(name for name in budget.contestants if name in options.contestants)
        budget = dataclasses.replace(budget, contestants=chosen)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs every default
    for folders in (options.valid, options.test):
        real_files.named_images(folders)
    if tables.ANCHOR not in budget.contestants:
        raise StudyError("--contestants: the reference, to which all are compared, is missing")
    sets = image_sets(options)
    claim(options, budget)
    trained(options, budget)
    for which, folders in sets.items():
        report(options.out, budget, which, folders, options.passes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
