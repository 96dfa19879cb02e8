"""What a command line of `rdonet train` comes to: settings, or one line that says what is wrong."""

from __future__ import annotations

import shlex

from rdonet_jax.cli.commands import train
from rdonet_jax.cli.options.run_settings import RunSettings


def settings(line: str = "") -> RunSettings:
    return train.parse(["--data", "d", "--run", "r", *shlex.split(line)], "rdonet train")[1]


def complaint(capsys, line: str) -> str:
    """The one line that a command line ends with."""
    code = train.main(["--data", "d", "--run", "r", *shlex.split(line)])
    said = capsys.readouterr().err
    assert code in (1, 2) and said.startswith("rdonet train: ") and said.count("\n") == 1
    return said.strip()
