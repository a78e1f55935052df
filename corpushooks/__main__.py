"""Run the command: `corpus`, or python -m corpushooks."""

from __future__ import annotations

import os
import signal
import sys


def _open_descriptors() -> None:
    """Have something at 0, 1 and 2: else a file that is opened next, the store say, would get what is printed.

    What was closed stays useless: reading is at its end, and writing fails.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def main() -> None:
    """Load the command and run it; an interrupt while it is loaded ends us without a traceback."""
    _open_descriptors()
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # else whoever started us in the background wants none
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from corpushooks.cli.main import main as command

    signal.signal(signal.SIGINT, interrupt)
    command()


if __name__ == "__main__":
    main()
