"""The memory that lets a file keep its history when it moves within the tree.

Names that vanish and names that appear are seen one after the other, in either order, sometimes a batch apart. Both
sides are remembered for this batch and the previous one, by identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from indexer.index.rows import Key

Who = tuple[int, int, int | tuple[int, int]]
"""Filesystem id, inode, birth time in ns; where there is none (mtime, size): inode numbers are used again at once."""
Place = tuple[int, "Key"]

LIMIT = 50_000
"""Names of each kind in a generation (about 350 bytes each): beyond it the older generation is forgotten."""


class Past(NamedTuple):
    """What a file takes along: when it was first seen and last used (Unix seconds)."""

    first_seen: int
    used_at: int | None

    def merged(self, other: Past) -> Past:
        """Return what is known from both: the same file under two names, one after the other."""
        uses = [used for used in (self.used_at, other.used_at) if used is not None]
        return Past(min(self.first_seen, other.first_seen), max(uses, default=None))


class History:
    """Departures and arrivals of two generations."""

    def __init__(self) -> None:
        self._departed: tuple[dict[Who, Past], dict[Who, Past]] = ({}, {})
        self._arrived: tuple[dict[Who, Place], dict[Who, Place]] = ({}, {})

    def departed(self, who: Who, place: Place, past: Past) -> tuple[Place, Past] | None:
        """A file is no longer at `place`; return where else it has appeared already, and what it takes there."""
        for generation in self._departed:
            known = generation.get(who)
            if known is not None:
                past = past.merged(known)
        if len(self._departed[0]) >= LIMIT:
            self._departed = ({}, self._departed[0])
        self._departed[0][who] = past
        for arrivals in self._arrived:
            found = arrivals.get(who)
            if found == place:
                del arrivals[who]  # it was there only for a while
            elif found is not None:
                return found, past
        return None

    def arrived(self, who: Who, place: Place) -> Past | None:
        """A file appeared; return its past if it has just vanished elsewhere."""
        if len(self._arrived[0]) >= LIMIT:
            self._arrived = ({}, self._arrived[0])
        self._arrived[0][who] = place
        for generation in self._departed:
            past = generation.get(who)
            if past is not None:
                return past
        return None

    def turn(self) -> None:
        """A batch is complete: forget the one before it."""
        if self._departed[0] or self._departed[1]:
            self._departed = ({}, self._departed[0])
        if self._arrived[0] or self._arrived[1]:
            self._arrived = ({}, self._arrived[0])
