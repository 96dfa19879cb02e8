"""The command `rdonet`, which is also `python -m rdonet_jax`."""

import sys


def main() -> int:
    """Runs the command line and returns its exit code."""
    import signal

    # Until there are handlers, Ctrl-C ends the process as SIGTERM does, without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rdonet_jax.core import interrupts

    interrupts.install_handlers()  # before all imports that take time
    from rdonet_jax.cli import main as cli_main

    return cli_main.main()


if __name__ == "__main__":
    sys.exit(main())
