"""The command `rdonet`, which is also `python -m rdonet_jax`."""

import sys


def main() -> int:
    """Runs the command line and returns its exit code."""
    # Built into Python. The module `signal` makes enumerations of it, and Ctrl-C meanwhile would
    # give a traceback.
    import _signal

    # Until there are handlers, Ctrl-C ends the process as SIGTERM does, without a traceback.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from rdonet_jax.runtime import interrupts

    interrupts.install_handlers()  # before all imports that take time
    from rdonet_jax.cli import main as cli_main

    return cli_main.main()


if __name__ == "__main__":
    sys.exit(main())
