"""`python -m rdonet_jax` is the command `rdonet`."""

import sys

from rdonet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
