"""Why a state failed, from its output and Salt's comment. Values only."""

from __future__ import annotations

import contextlib
import re
import signal

from corpushooks.core.events import StateEnded

RAN = re.compile(r"Command \".*\" run", re.S)  # Salt's comment on every command
UNUSUAL = {126: "exit code 126: not executable", 127: "exit code 127: command not found"}
TRACEBACK = re.compile(r"^([ \t]*)Traceback \(most recent call last\):\n((?:\1[ \t]+\S.*\n)+)", re.M)
CALL = re.compile(r'^[ \t]*File "', re.M)


def failure(state: StateEnded) -> str:
    """Return why a state failed: the output and end of its command, or else Salt's comment."""
    output, ended = state.output, exit_of(state.exit)
    if not ended:
        return output or state.comment or "no reason given"
    if not output:
        said = [] if RAN.fullmatch(state.comment) else [state.comment]
        return "\n".join([*filter(None, said), f"{ended}, no output"])
    return f"{output.rstrip()}\n{ended}" if ended in UNUSUAL.values() or ended.startswith("killed") else output


def exit_of(code: int | None) -> str:
    """Describe the end of a failed command; nothing if unknown."""
    if not code:
        return ""
    number = -code if code < 0 else code - 128  # a shell reports signals like this
    if number > 0 and (code < 0 or code < 192):
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(number).name}" + (f" (exit code {code})" if code > 0 else "")
    return UNUSUAL.get(code, f"exit code {code}")


def condensed(text: str) -> str:
    """Return a text with only the last call and the error of each Python traceback."""
    return TRACEBACK.sub(_last_call, text)


def _last_call(found: re.Match[str]) -> str:
    """Return a traceback with only its last call."""
    calls = [call.start() for call in CALL.finditer(found[2])]
    if len(calls) < 2:
        return found[0]
    head, more = found[0].partition("\n")[0], len(calls) - 1
    return f"{head}\n{found[1]}  … {more} more call{'s' if more > 1 else ''} …\n{found[2][calls[-1] :]}"
