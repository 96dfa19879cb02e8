"""The images of an evaluation over several hosts, and their results on all of them.

Every host evaluates every n-th image on its own devices, so shapes need not be the same on all
hosts at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import jax

from rdonet_jax.core.shard import Shard
from rdonet_jax.evaluation.measures import EvaluationError
from rdonet_jax.evaluation.results import Row
from rdonet_jax.runtime import multihost

PATIENCE_MS = multihost.A_DAY_MS
"""Milliseconds that a host which is done waits for the others."""

T = TypeVar("T")


def share(images: Mapping[str, T]) -> dict[str, T]:
    """This host's part of the images, by name; perhaps none. All of them on a single host."""
    part = Shard(jax.process_index() + 1, jax.process_count())
    return dict(part.part(list(images.items())))


@contextlib.contextmanager
def raising_on_all(name: str = "every host has evaluated its part") -> Iterator[None]:
    """A context for what every host does separately: an error on one host is raised on all."""
    if jax.process_count() == 1:
        yield
        return
    with multihost.raise_on_all_hosts(name, PATIENCE_MS):
        yield


def gather_rows(rows: Mapping[str, Row], names: Sequence[str]) -> list[Row]:
    """The rows of all hosts in the order of all names.

    Raises `EvaluationError` unless there is exactly one row of every image.
    """
    parts = multihost.gather_json("rows", [row._asdict() for row in rows.values()], PATIENCE_MS)
    found = [Row(**values) for part in parts for values in part]
    by_name = {row.name: row for row in found}
    if len(by_name) < len(found) or by_name.keys() != set(names):
        raise EvaluationError(
            f"{len(names)} images were evaluated by {len(parts)} hosts, which have {len(found)} "
            f"results of {len(by_name)} images"
        )
    return [by_name[name] for name in names]


def require_equal(what: object) -> None:
    """Raises `ConfigError` on every host unless all evaluate the same."""
    multihost.require_equal(str(what), "images, models or settings")
