"""What is to come: a place is looked at after the event that names it, and something else may be there by then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from indexer.syscalls import inotify as kernel

LEAVING = kernel.IN_MOVED_FROM | kernel.IN_DELETE


class Waiting:
    """What events that have been read, and not yet been dealt with, say of places: (watch of the parent, name)."""

    def __init__(self, read: Callable[[], None]) -> None:
        """`read` reads what the kernel holds by now."""
        self.read = read
        self._leaving: Counter[tuple[int, bytes]] = Counter()
        self._arriving: Counter[tuple[int, bytes]] = Counter()

    def add(self, mask: int, place: tuple[int, bytes]) -> None:
        """An event has been read."""
        if mask & LEAVING:
            self._leaving[place] += 1
        elif mask & kernel.IN_MOVED_TO:
            self._arriving[place] += 1

    def done(self, mask: int, place: tuple[int, bytes]) -> None:
        """It is being dealt with."""
        counts = self._leaving if mask & LEAVING else self._arriving if mask & kernel.IN_MOVED_TO else None
        if counts is None or place not in counts:
            return
        counts[place] -= 1
        if not counts[place]:
            del counts[place]

    def leaves(self, watch: int, name: bytes) -> bool:
        """Say whether what came to this place has left it since: what is there now is something else, if anything."""
        return (watch, name) in self._leaving

    def arrives(self, watch: int, name: bytes) -> bool:
        """Say whether something was moved to this place since."""
        return (watch, name) in self._arriving
