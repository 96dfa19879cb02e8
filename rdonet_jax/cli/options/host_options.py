"""Options of the commands that run on several hosts."""

from __future__ import annotations

import argparse

from rdonet_jax.runtime import multihost


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several hosts")
    group.add_argument(
        "--distributed", action="store_true",
        help="join the hosts that SLURM, Open MPI, Cloud TPU or Kubernetes name",
    )  # fmt: skip
    group.add_argument("--coordinator", metavar="ADDRESS:PORT", help="of the first host")
    group.add_argument("--processes", type=int, help="how many there are in all")
    group.add_argument("--process", type=int, help="the number of this one, from 0")


def are_given(options: argparse.Namespace) -> bool:
    """Whether there are to be several hosts."""
    return options.distributed or _cluster(options) != multihost.Cluster()


def join(options: argparse.Namespace) -> bool:
    """Connects the hosts, if there are several; whether there are. Raises `ConfigError`."""
    if not are_given(options):
        return False
    multihost.join(_cluster(options))
    return True


def _cluster(options: argparse.Namespace) -> multihost.Cluster:
    return multihost.Cluster(options.coordinator, options.processes, options.process)
