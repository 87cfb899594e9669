"""A file that is read all the time is told once in a while: what is noted has a resolution anyway."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

LIMIT = 100_000
"""Names remembered; with more, all of them are told once more."""


class RecentUses:
    """The names of which a use has been told within half the resolution. Belongs to a reader's thread."""

    def __init__(self, resolution: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`resolution` is in seconds; 0 tells every use."""
        self._window = resolution / 2
        self._monotonic = monotonic
        self._until = 0.0
        self._told: set[Hashable] = set()

    def turn(self) -> set[Hashable] | None:
        """Return, before some events, the names whose uses need not be told; None where all are.

        Whoever goes through the events adds what it tells, and takes out a name that has changed, since another file
        may have it now. (A plain set: this is a hot loop.)
        """
        if not self._window:
            return None
        now = self._monotonic()
        if now >= self._until or len(self._told) >= LIMIT:
            self._told.clear()
            self._until = now + self._window
        return self._told
