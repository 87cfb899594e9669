"""The names that a batch hints at: whose they are, and one look at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.events import ACCESSED, CHANGED
from indexer.index.backlog import Listing
from indexer.index.directories import DetachedError, GoneError
from indexer.index.doubts import merged
from indexer.index.rows import USE, key_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.events import Batch, DirectoryKey
    from indexer.index.ahead import Ahead
    from indexer.index.backlog import Backlog
    from indexer.index.compare import Comparer
    from indexer.index.directories import Directories
    from indexer.index.doubts import Doubts, Names
    from indexer.index.limbo import Limbo
    from indexer.index.links import Links
    from indexer.index.proofs import Proofs
    from indexer.index.rows import Key
    from indexer.index.turn import Turn
    from indexer.index.writes import Writes
    from indexer.watch.source import Watcher


_NONE: Names = {}


class Hints:
    """Stats every hinted name once, through its verified directory."""

    def __init__(
        self,
        connection: Any,
        directories: Directories,
        compare: Comparer,
        writes: Writes,
        links: Links,
        doubts: Doubts,
        proofs: Proofs,
        backlog: Backlog,
        ahead: Ahead,
        limbo: Limbo,
        watcher: Watcher,
        turn: Turn,
        *,
        access_resolution: int,
    ) -> None:
        self._connection = connection
        self._directories = directories
        self._compare = compare
        self._writes = writes
        self._links = links
        self._doubts = doubts
        self._proofs = proofs
        self._backlog = backlog
        self._ahead = ahead
        self._limbo = limbo
        self._watcher = watcher
        self._turn = turn
        self._resolution = access_resolution
        self.on_access: Callable[[int, Key], bool] | None = None
        self._drained = False
        self.seen: set[int] = set()
        """The directories that the last batch hinted at."""

    def look(self, batch: Batch) -> None:
        """Stat every hinted name. New directories among them make further keys known: go round until none is left."""
        self._drained = batch.drained
        work = self._doubts.work()
        unknown = self._ours(batch.hints, work)
        self.seen = set(work)
        while work:
            for directory_id, names in work.items():
                self._look(directory_id, names)
            self._writes.flush()
            work = self._other_names(work)
            unknown = self._ours(unknown, work)
        for key in unknown:
            if isinstance(key, bytes):
                self._watcher.foreign(key)

    def look_at_links(self) -> None:
        """Stat the other names of inodes with several links that listing or dropping directories has touched."""
        for directory_id, names in self._other_names({}).items():
            self._look(directory_id, names)
        self._writes.flush()

    def _ours(self, hints: dict[DirectoryKey, Names], work: dict[int, Names]) -> dict[DirectoryKey, Names]:
        """Add the hints on the store's directories to `work`; return those on others."""
        unknown: dict[DirectoryKey, Names] = {}
        for key, names in hints.items():
            directory_id = self._directories.id_of(key)
            if directory_id is None:
                unknown[key] = names
            elif directory_id in work:
                work[directory_id] = merged(work[directory_id], names)
            else:
                work[directory_id] = names
        return unknown

    def _look(self, directory_id: int, names: Names) -> None:
        self._ahead.doubt(directory_id)
        row = self._connection.execute(
            "SELECT listed_ns, problem, handle, filesystem_id FROM directory WHERE id = ?", (directory_id,)
        ).fetchone()
        if row is None or (row[0] == 0 and (row[1] is None or b"." not in names)):
            return  # it is going to be listed, and registered before that: nothing can be missed
        try:
            fd = self._directories.open(directory_id, known=row[2:])
            if b"." in names:
                names = {name: kinds for name, kinds in names.items() if name != b"."}
                if row[1] is not None:
                    self._backlog.push(Listing(directory_id, tree=True, reason="readable"))
            self._compare.names(directory_id, fd, [name for name, kinds in names.items() if kinds & CHANGED])
            if self._compare.problem is not None:
                self._directories.note_problem(directory_id, self._compare.problem)
            self._note_uses(directory_id, names)
            self._proofs.touch(directory_id)
        except (GoneError, DetachedError):
            quiet = self._drained and self._directories.attached(directory_id)
            if not quiet and self._drained and not (self._limbo or self._backlog):
                self._limbo.break_ring(directory_id, self._backlog)
            self._doubts.postpone(directory_id, names, quiet=quiet)
        except OSError as error:
            self._directories.trouble(directory_id, error)

    def _note_uses(self, directory_id: int, names: Names) -> None:
        now = self._turn.now
        uses = [
            (now, directory_id, key, now - self._resolution)
            for name, kinds in names.items()
            if kinds & ACCESSED
            for key in (key_of(name),)
            if self.on_access is None or self.on_access(directory_id, key)
        ]
        if uses:
            self._writes.flush()
            self._connection.executemany(USE, uses)

    def _other_names(self, done: dict[int, Names]) -> dict[int, Names]:
        """Other names of inodes with several links: their rows changed with no event on their name."""
        work: dict[int, Names] = {}
        if self._turn.bulk:
            return work
        for directory_id, key in self._links.other_names():
            name = name_of(key)
            if not done.get(directory_id, _NONE).get(name, 0) & CHANGED:  # a use alone is no look
                work.setdefault(directory_id, {})[name] = CHANGED
        return work
