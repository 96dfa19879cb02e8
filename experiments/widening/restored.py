"""Gives trained wide weights the parameters of the old network back, but for the synthesis.

    python -m experiments.widening.restored TRAINED WIDENED --old standard --out FOLDER

What training changes for the new channels costs the old ones rate. So all that their symbols and
probabilities depend on is taken from the WIDENED weights, as it was before training. The synthesis
after the finest latents, and what widening added to the `--old` network, stay as TRAINED has them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.widening import command
from rdonet_jax.cli import program
from rdonet_jax.core.config import ConfigError, PortableConfig
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import widening
from rdonet_jax.training.optimizers import optimizer


def restored(trained: Any, before: Any, config: PortableConfig, old: PortableConfig) -> Any:
    """The trained parameters, with what `--learn added` leaves alone as it was before."""
    return jax.tree_util.tree_map(
        lambda leaf, first, learns, is_added: np.where(is_added | learns, leaf, first),
        trained, before, optimizer.trainable_mask(config, trained, "added"),
        widening.added(trained, config, old),
    )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", help="weights after training")
    parser.add_argument("widened", help="weights before training")
    parser.add_argument("--old", required=True, help="weights that were widened")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args(arguments)
    return program.exit_code(lambda: write_restored(options), command.EXPECTED, "restored")


def write_restored(options: argparse.Namespace) -> int:
    """Writes the weights. Raises `command.EXPECTED`, and OSError."""
    names = (options.trained, options.widened, options.old)
    trained, before, first = map(command.portable, names)
    shapes, same = (jax.tree_util.tree_map(np.shape, m.params) for m in (trained, before))
    if shapes != same:
        raise ConfigError(f"{options.widened}: is another network than {options.trained}")
    with command.naming(options.trained):
        old = widening.narrowed(trained.config, first.config.trunk, first.config.knots)
    params = restored(trained.params, before.params, trained.config, old)
    record = {**trained.record.stored, "restored": options.widened}
    print(zoo.save(options.out, trained.name, trained.config, params, record))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
