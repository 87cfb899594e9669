"""Which program a process is: for `[store] ignore_readers`, whose reading is no use of a file.

fanotify tells the process of an event, and never merges those of two. What the process was is looked up when the event
is read, 20 ms later at most as a rule: a program that has ended by then is not known any more, and its reading counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

TRUST = 1.0
"""Seconds for which a process is taken to be the program that it was: process ids are used again."""
REMEMBERED = 4_096
_COMM = 15
"""Bytes of a program's name that the kernel keeps (prctl(2), PR_SET_NAME)."""
_INTERPRETED = 4
"""Words of a command line in which a script's name is looked for: `python3 -I -m borg`."""


class IgnoredReaders:
    """Answers for one watcher's reader thread."""

    def __init__(self, names: Iterable[str], monotonic: Callable[[], float] = time.monotonic) -> None:
        """`names` are programs as `ps` shows them, or their files' names: restic, clamd, borg."""
        self._names = frozenset(os.fsencode(os.path.basename(name)) for name in names)
        self._short = frozenset(name[:_COMM] for name in self._names)
        self._monotonic = monotonic
        self._known: dict[int, tuple[bool, float]] = {}
        self.dropped = 0
        """Events of theirs."""
        self.unknown = 0
        """Events of processes that had ended, or that this one may not see: they count as use."""

    def __bool__(self) -> bool:
        return bool(self._names)

    def ignores(self, pid: int) -> bool:
        """Say whether this event's process is one of the programs, and count it."""
        known = self._known.get(pid)
        now = self._monotonic()
        if known is None or now >= known[1]:
            verdict = self._is_one(pid)
            if verdict is None:
                self.unknown += 1
                return False
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[pid] = verdict, now + TRUST
        self.dropped += known[0]
        return known[0]

    def _is_one(self, pid: int) -> bool | None:
        """Compare name, file and command line; None for a process that has ended or is not ours to see."""
        try:
            with open(f"/proc/{pid}/comm", "rb") as file:
                name = file.read().rstrip(b"\n")
            if name in self._short and (len(name) < _COMM or name in self._names):
                return True
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read(4096).split(b"\0")[:_INTERPRETED]
            if any(os.path.basename(word) in self._names for word in words):
                return True
            return os.path.basename(os.readlink(b"/proc/%d/exe" % pid)).removesuffix(b" (deleted)") in self._names
        except (FileNotFoundError, ProcessLookupError):
            return None
        except PermissionError:  # its executable is not ours to see; its names were, and are others
            return False
