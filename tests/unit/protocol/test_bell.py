"""What wakes the daemon's waiting thread: rung before it waits or while it does, by a thread or by a signal."""

from __future__ import annotations

import select
import signal

from corpushooks.protocol.connection import Bell


def rings(bell: Bell) -> bool:
    """Say whether a wait for the bell returns at once."""
    return bool(select.select([bell.wire], [], [], 0)[0])


def test_a_bell_rings_once_it_was_rung() -> None:
    bell = Bell()
    with bell:
        assert not rings(bell)
        bell.ring()
        assert rings(bell)
    with bell:  # that is not forgotten
        assert rings(bell)
    bell.ring()


def test_a_signal_rings_it_before_its_handler_runs() -> None:
    """Else one that comes just before the wait is seen only after it."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with Bell() as bell:
            signal.raise_signal(signal.SIGUSR1)
            assert rings(bell)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)
