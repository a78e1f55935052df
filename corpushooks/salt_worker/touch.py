"""Detect whether a process has run or written anything, which could change what Salt sees next.

It uses Python's audit events: every event that is not known to be harmless counts, so that one that is missing here,
or new in another Python, costs time but not correctness.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

# Events of reading, or whose effect ends with the process. Source: the audit events table of Python's manual.
HARMLESS = """
array.__new__ builtins.id code.__new__ compile exec fcntl.fcntl fcntl.flock fcntl.lockf function.__new__
gc.get_objects gc.get_referents gc.get_referrers glob.glob glob.glob/2 marshal.load marshal.loads mmap.__new__
object.__delattr__ object.__getattr__ object.__setattr__ os.chdir os.fwalk os.getxattr os.listdir os.listxattr
os.putenv os.scandir os.unsetenv os.walk pathlib.Path.glob pathlib.Path.rglob pickle.find_class resource.prlimit
resource.setrlimit socket.__new__ socket.getaddrinfo socket.gethostbyaddr socket.gethostbyname socket.gethostname
socket.getnameinfo sys._current_exceptions sys._current_frames sys._getframe sys._getframemodulename sys.excepthook
sys.unraisablehook tempfile.mkdtemp tempfile.mkstemp time.sleep
"""
ON_PATHS = "os.mkdir os.rmdir os.remove os.rename os.chmod"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Touch:
    """Whether this process has touched anything. `cache` is Salt's, for its copies and listings."""

    def __init__(self, cache: str) -> None:
        temporary = os.path.join(tempfile.gettempdir(), "__salt.tmp.")  # a template, rendered
        self._harmless, self._on_paths = frozenset(HARMLESS.split()), frozenset(ON_PATHS.split())
        inner = [os.path.join(cache, name, "") for name in ("files", "file_lists", "accumulator")]
        self._ours = (*inner, temporary)
        self.any = False

    def watch(self) -> None:
        """Start to watch; this cannot be stopped."""
        sys.addaudithook(self._on_audit_event)

    def _on_audit_event(self, event: str, values: tuple[Any, ...]) -> None:
        if not self.any and event not in self._harmless and not self._is_harmless(event, values):
            self.any = True

    def _is_harmless(self, event: str, values: tuple[Any, ...]) -> bool:
        if event == "import":
            return not values[1]  # a native library has no audit events
        if event == "open":
            path, _, flags = values
            reads = isinstance(flags, int) and not flags & WRITING
            return reads or self._is_ours(path) or path == os.devnull
        return event in self._on_paths and all(self._is_ours(path) for path in values if isinstance(path, (str, bytes)))

    def _is_ours(self, path: Any) -> bool:
        return isinstance(path, str) and ".." not in path and path.startswith(self._ours)
