"""The command `rdonet`, which is also `python -m rdonet_jax`."""

import sys

from rdonet_jax.core import interrupts


def main() -> int:
    """Runs the command line and returns its exit code."""
    interrupts.install_handlers()  # before all imports that take time
    from rdonet_jax.cli import main as cli_main

    return cli_main.main()


if __name__ == "__main__":
    sys.exit(main())
