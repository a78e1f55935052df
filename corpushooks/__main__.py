"""Run the command: `corpus`, or python -m corpushooks."""

from __future__ import annotations

import os
import signal
import sys


def _open_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if they are closed: otherwise output could go to another file, such as the store.

    Closed ones stay unusable: reading returns nothing, and writing fails.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def main() -> None:
    """Load the command and run it; an interrupt while loading ends the process without a traceback."""
    _open_descriptors()
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # otherwise it is ignored, for a background process
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from corpushooks.cli.main import main as command

    signal.signal(signal.SIGINT, interrupt)
    command()


if __name__ == "__main__":
    main()
