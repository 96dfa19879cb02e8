"""The commands `train`, `eval` and `data`, which are loaded when they are called.

Their options come from configurations and registries that need JAX, and their work needs the
packages of the extra `[train]`. Neither is needed for the other commands and for `rdonet --help`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rdonet_jax.cli import blas_threads, libraries, output

PACKAGE = "rdonet_jax"


def train(arguments: Sequence[str], program: str = "rdonet train") -> int:
    """Trains a model, or exports the weights of a run; returns the exit code."""
    _before_jax()
    try:
        from rdonet_jax.cli.commands import train
    except ModuleNotFoundError as error:
        return _missing(error, program)
    return train.run(arguments, program)


def evaluate(arguments: Sequence[str], program: str = "rdonet eval") -> int:
    """Evaluates models and conventional codecs; returns the exit code.

    It codes one image at a time, with as many threads as `rdonet compress` has for one file.
    """
    blas_threads.share()
    _before_jax()
    try:
        from rdonet_jax.cli.commands import eval as evaluation
    except ModuleNotFoundError as error:
        return _missing(error, program)
    return evaluation.run(arguments, program)


def _before_jax() -> None:
    """What has to be done before JAX is imported, by a command that compiles."""
    libraries.quiet_xla()
    libraries.remember_compilations()


def _missing(error: ModuleNotFoundError, program: str) -> int:
    """One line on a package that is not installed, and the exit code."""
    package = (error.name or PACKAGE).partition(".")[0]
    if package == PACKAGE:  # a fault of this package
        raise error
    output.note(f"{package} is not installed; pip install 'rdonet-jax[train]' brings it", program)
    return 1


def data(arguments: Sequence[str], program: str = "rdonet data") -> int:
    """Packs images into shards; returns the exit code."""
    try:
        from rdonet_jax.cli.commands import data
    except ModuleNotFoundError as error:
        return _missing(error, program)
    return data.main(arguments, program)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "eval": evaluate,
    "data": data,
}
