"""`rdonet eval`, for a checkout that is not installed: python eval.py --help."""

import sys

from rdonet_jax.cli import lazy_commands
from rdonet_jax.runtime import interrupts

if __name__ == "__main__":
    interrupts.install_handlers("eval.py")
    sys.exit(lazy_commands.evaluate(sys.argv[1:], "eval.py"))
