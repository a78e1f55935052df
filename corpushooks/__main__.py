"""Run the command: `corpus`, or python -m corpushooks."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command and run it; an interrupt while it is loaded ends us without a traceback."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # else whoever started us in the background wants none
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from corpushooks import cli

    signal.signal(signal.SIGINT, interrupt)
    cli.main()


if __name__ == "__main__":
    main()
