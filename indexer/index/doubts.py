"""Names that could not be looked at yet, kept until they can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.events import CHANGED
from indexer.index.rows import name_of

if TYPE_CHECKING:
    from indexer.index.rows import Key

POSTPONE_LIMIT = 5
"""Quiet batches after which no explanation is expected any more (one should be enough)."""

Names = dict[bytes, int]
"""name -> kinds of hint."""


def merged(one: Names, other: Names) -> Names:
    """Return all names of both, with all kinds of hint."""
    both = dict(one)
    for name, kinds in other.items():
        both[name] = both.get(name, 0) | kinds
    return both


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A directory that could not be reached: its names, and how often it was tried."""

    names: Names
    tries: int


class Doubts:
    """What the next transaction has to look at besides its batch."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._later: list[tuple[int, bytes]] = []
        self._postponed: dict[int, _Doubt] = {}
        self._taken: tuple[list[tuple[int, bytes]], dict[int, _Doubt]] = ([], {})

    @property
    def later(self) -> bool:
        """Names of directories have to be looked at in any case."""
        return bool(self._later)

    @property
    def postponed(self) -> bool:
        """Directories could not be reached: what became of them is still to be learnt."""
        return bool(self._postponed)

    def __len__(self) -> int:
        return sum(len(doubt.names) for doubt in self._postponed.values())

    def begin(self) -> None:
        """Start a transaction: everything that waits is its work now."""
        self._taken = self._later, self._postponed
        self._later, self._postponed = [], {}

    def rollback(self) -> None:
        """It failed."""
        self._later, self._postponed = self._taken

    def work(self) -> dict[int, Names]:
        """Return what waited when the transaction began."""
        later, postponed = self._taken
        work: dict[int, Names] = {directory_id: dict(doubt.names) for directory_id, doubt in postponed.items()}
        for directory_id, name in later:
            work.setdefault(directory_id, {})[name] = CHANGED
        return work

    def postpone(self, directory_id: int, names: Names, *, quiet: bool) -> None:
        """A directory is not where the index thinks: the hint about its own name will tell.

        It counts as a try when it was `quiet`: everything that the kernel held had been applied, and neither the
        directory nor one above it is in limbo. After some of them, the directory's place is looked at.
        """
        waiting = self._postponed.get(directory_id)
        if waiting is not None:
            self._postponed[directory_id] = _Doubt(merged(waiting.names, names), waiting.tries)
            return
        before = self._taken[1].get(directory_id)
        tries = (before.tries if before is not None else 0) + quiet
        if tries < POSTPONE_LIMIT:
            self._postponed[directory_id] = _Doubt(names, tries)
        else:
            self.unreachable(directory_id)

    def unreachable(self, directory_id: int) -> None:
        """A directory is not where it should be: look at that place; whoever finds it, there or elsewhere, lists it."""
        if self.doubt_name(directory_id):
            self._connection.execute("UPDATE directory SET listed_ns = 0 WHERE id = ?", (directory_id,))

    def doubt_name(self, directory_id: int) -> bool:
        """A directory is not where it should be: look at its own name next time; False where it has none."""
        row = self._connection.execute("SELECT parent_id, name FROM directory WHERE id = ?", (directory_id,)).fetchone()
        if row is None or row[0] is None:
            return False
        self.doubt(*row)
        return True

    def doubt(self, directory_id: int, key: Key) -> None:
        """Look at this name next time."""
        self._later.append((directory_id, name_of(key)))
