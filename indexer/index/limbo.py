"""Directories that are no longer where they were and have not been found elsewhere, and what waits for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.events import ROOT_ID
from indexer.index.backlog import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.index.backlog import Backlog
    from indexer.index.classes import RulesCache
    from indexer.index.directories import Directories
    from indexer.index.reclassify import Reclassifier
    from indexer.index.rows import Key
    from indexer.index.turn import Turn

LEFT_OVER = 0
"""Stands for a transaction of an earlier life: they count from 1."""

ASTRAY_LIMIT = 50
"""Transactions in which a directory may be looked for before it counts as unreadable."""


class Limbo:
    """A rename is seen as a vanishing and an appearance, in either order, sometimes a batch apart."""

    def __init__(
        self, directories: Directories, rules: RulesCache, reclassifier: Reclassifier, turn: Turn, found: Iterable[int]
    ) -> None:
        """`found` are directories that an earlier life of the writer left in limbo."""
        self._directories = directories
        self._rules = rules
        self._reclassifier = reclassifier
        self._turn = turn
        self._since = dict.fromkeys(found, LEFT_OVER)
        self._stranded: list[Listing] = []
        self._astray: dict[int, int] = {}
        self._before: tuple[dict[int, int], list[Listing]] = ({}, [])

    def __bool__(self) -> bool:
        return bool(self._since)

    def __len__(self) -> int:
        return len(self._since)

    @property
    def stranded(self) -> bool:
        """Listings wait for what becomes of a directory above."""
        return bool(self._stranded)

    def begin(self) -> None:
        """Start a transaction."""
        self._before = dict(self._since), list(self._stranded)

    def rollback(self) -> None:
        """It failed."""
        self._since, self._stranded = self._before

    def displaced(self, directory_id: int, parent_id: int, name: Key) -> None:
        """A directory is no longer at this place: unless it was found elsewhere already, it waits."""
        if self._directories.detach(directory_id, parent_id, name):
            self._since[directory_id] = self._turn.number
        self._rules.clear()

    def claimed(self, directory_id: int) -> bool:
        """It has been found under another name: same row, same files; their classes may be others.

        Returns whether an earlier life of the writer had left it here: nobody has seen what happened in it since.
        """
        since = self._since.pop(directory_id, None)
        self._rules.clear()
        self._reclassifier.start_tree(directory_id)
        return since == LEFT_OVER

    def strand(self, listing: Listing) -> None:
        """A directory cannot be listed while it or one above it is in limbo.

        Whoever claims it may list it first, so by the time this comes to its turn there may be rows to compare with.
        """
        self._stranded.append(replace(listing, fresh=False))

    def strand_astray(self, listing: Listing) -> bool:
        """A directory could not be reached where it should be: list it once it is found; False: it never was."""
        tries = self._astray.get(listing.directory_id, 0) + 1
        self._astray[listing.directory_id] = tries
        if tries > ASTRAY_LIMIT:
            self.found(listing.directory_id)
            return False
        self.strand(listing)
        return True

    def found(self, directory_id: int) -> None:
        """A directory was reached, or is looked for no longer."""
        self._astray.pop(directory_id, None)

    def break_ring(self, directory_id: int, backlog: Backlog) -> bool:
        """Nothing is left that could break the ring that this directory lies in: it has left the tree, or hides in it.

        One of the ring waits here while the whole tree is listed, and goes with the others unless that finds it.
        Returns whether there was a ring.
        """
        member = self._directories.ring(directory_id)
        if member is None:
            return False
        self.displaced(*member)
        backlog.push(Listing(ROOT_ID, tree=True, reason="ring"))
        return True

    def unclaimed(self) -> list[int]:
        """Take out those that vanished before this transaction: they have left the tree."""
        gone = [each for each, turn in self._since.items() if turn < self._turn.number]
        for directory_id in gone:
            del self._since[directory_id]
        return gone

    def release(self, backlog: Backlog) -> None:
        """Once nothing is in limbo, what was stranded is listed.

        After all else: moves that were half seen can leave a ring of directories, and what breaks it waits in there.
        """
        if self._stranded and not self._since:
            if not backlog:
                self.break_ring(self._stranded[0].directory_id, backlog)
            for listing in self._stranded:
                backlog.push(listing, last=True)
            self._stranded = []
