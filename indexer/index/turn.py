"""What every room of the writer knows of the transaction that is under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from indexer.index.rows import NS


@dataclass(slots=True)
class Applied:
    """What one batch, or several, did to the index."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    directories: int = 0
    """Directories listed."""
    seen: int = 0
    """Files stat'ed."""

    def add(self, other: Applied) -> None:
        """Sum up."""
        self.added += other.added
        self.updated += other.updated
        self.removed += other.removed
        self.directories += other.directories
        self.seen += other.seen


@dataclass(slots=True)
class Turn:
    """One value for all of them, changed only by the `Index`, at the beginning of a transaction."""

    now: int
    """Unix seconds: the `now` of everything that is written."""
    number: int = 0
    """Counts transactions."""
    first: bool = False
    """The first pass over the tree is under way."""
    bulk: bool = False
    """Counters, secondary indexes and charges are not kept: they are made at the end of the first pass."""
    done: Applied = field(default_factory=Applied)

    @property
    def now_ns(self) -> int:
        """The same in nanoseconds."""
        return self.now * NS

    def begin(self, now: int, *, first: bool) -> None:
        """Start the next transaction."""
        self.now, self.first = now, first
        self.number += 1
        self.done = Applied()
