"""`rdonet train`, for a checkout that is not installed: python train.py --help."""

import sys

from rdonet_jax.cli import lazy_commands

if __name__ == "__main__":
    sys.exit(lazy_commands.train(sys.argv[1:], "train.py"))
