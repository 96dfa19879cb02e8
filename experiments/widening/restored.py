"""Gives trained wide weights the parameters of the old network back, but for the synthesis.

    python -m experiments.widening.restored TRAINED WIDENED --old standard --out FOLDER

What training changes for the new channels costs the old ones rate. So all that their symbols and
probabilities depend on is taken from the WIDENED weights, as it was before training. The synthesis
after the finest latents, and what widening added to the `--old` network, stay as TRAINED has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rdonet_jax.core.config import PortableConfig
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import widening
from rdonet_jax.training import optimizer


def restored(trained: Any, before: Any, config: PortableConfig, old: PortableConfig) -> Any:
    """The trained parameters, with what `--learn added` leaves alone as it was before."""
    return jax.tree_util.tree_map(
        lambda leaf, first, learns, is_added: np.where(is_added | learns, leaf, first),
        trained, before, optimizer.learning(trained, "added"), widening.added(trained, config, old),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", help="weights after training")
    parser.add_argument("widened", help="weights before training")
    parser.add_argument("--old", required=True, help="weights that were widened")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args()
    trained, before, first = map(zoo.load, (options.trained, options.widened, options.old))
    old = widening.narrowed(trained.config, first.config.trunk, first.config.knots)
    params = restored(trained.params, before.params, trained.config, old)
    record = {**trained.record.stored, "restored": options.widened}
    print(zoo.save(options.out, trained.name, trained.config, params, record))


if __name__ == "__main__":
    main()
