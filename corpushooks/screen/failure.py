"""Why a state failed, from what Salt and its command say. Values only."""

from __future__ import annotations

import contextlib
import re
import signal

from corpushooks.core.events import StateEnded

RAN = re.compile(r"Command \".*\" run", re.S)  # what Salt says of every command that ended
UNUSUAL = {126: "exit code 126: not executable", 127: "exit code 127: command not found"}
TRACEBACK = re.compile(r"^([ \t]*)Traceback \(most recent call last\):\n((?:\1[ \t]+\S.*\n)+)", re.M)
CALL = re.compile(r'^[ \t]*File "', re.M)


def failure(state: StateEnded) -> str:
    """Return why a state failed: what its command wrote and how that ended, else what Salt says."""
    output, ended = state.output, exit_of(state.exit)
    if not ended:
        return output or state.comment or "no reason is given"
    if not output:
        said = [] if RAN.fullmatch(state.comment) else [state.comment]
        return "\n".join([*filter(None, said), f"{ended}, no output"])
    return f"{output.rstrip()}\n{ended}" if ended in UNUSUAL.values() or ended.startswith("killed") else output


def exit_of(code: int | None) -> str:
    """Return how a command that failed ended, as people say it; nothing if that is not known."""
    if not code:
        return ""
    number = -code if code < 0 else code - 128  # a shell reports a signal so
    if number > 0 and (code < 0 or code < 192):
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(number).name}" + (f" (exit code {code})" if code > 0 else "")
    return UNUSUAL.get(code, f"exit code {code}")


def condensed(text: str) -> str:
    """Return a text with only the last call of each Python traceback in it, and what it ended with."""
    return TRACEBACK.sub(_last_call, text)


def _last_call(found: re.Match[str]) -> str:
    """Return a traceback without the calls that led to the last one."""
    calls = [call.start() for call in CALL.finditer(found[2])]
    if len(calls) < 2:
        return found[0]
    head, more = found[0].partition("\n")[0], len(calls) - 1
    return f"{head}\n{found[1]}  … {more} more call{'s' if more > 1 else ''} …\n{found[2][calls[-1] :]}"
