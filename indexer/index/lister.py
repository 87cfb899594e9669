"""Lists the directories of the backlog: registers, reads and compares each, so that no window is open."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID
from indexer.index.directories import DetachedError, GoneError
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from indexer.index.backlog import Backlog, Listing
    from indexer.index.compare import Comparer
    from indexer.index.directories import Directories
    from indexer.index.doubts import Doubts
    from indexer.index.limbo import Limbo
    from indexer.index.proofs import Proofs
    from indexer.index.turn import Turn
    from indexer.syscalls.stat import FileStat
    from indexer.watch.source import Watcher


class Lister:
    """One directory at a time, by the writer itself."""

    def __init__(
        self,
        connection: Any,
        directories: Directories,
        compare: Comparer,
        limbo: Limbo,
        doubts: Doubts,
        proofs: Proofs,
        backlog: Backlog,
        watcher: Watcher,
        turn: Turn,
    ) -> None:
        self._connection = connection
        self.directories = directories
        self.compare = compare
        self.limbo = limbo
        self.doubts = doubts
        self._proofs = proofs
        self.backlog = backlog
        self.watcher = watcher
        self.turn = turn
        self.names = 0
        """How many names have been listed in this pass."""
        self.root_listed = False
        """The root has been listed since a pass over the whole tree began."""

    def list(self, listing: Listing, *, verify: bool) -> int:
        """Register, then list a directory, and go on with its children; return how many names it had."""
        directory_id = listing.directory_id
        try:
            fd = self.directories.open(directory_id, listing=True)
        except GoneError:
            self.gone(listing)
            return 0
        except OSError as error:
            self.directories.trouble(directory_id, error)
            return 0
        try:
            own = stat_fd(fd)
            if own.links == 0:  # removed, and held open by somebody: an empty listing would be no news
                self.gone(listing)
                return 0
            self.watcher.register(directory_id, fd, self.directories.key(directory_id))
            count = self.compare.listing(listing, fd, verify=verify)
        except DetachedError:  # it or an ancestor is in limbo: try again when that has been decided
            self.limbo.strand(listing)
            return 0
        except OSError as error:
            self.directories.trouble(directory_id, error)
            return 0
        finally:
            os.close(fd)
        self.listed(directory_id, own, self.turn.now_ns, count)
        return count

    def gone(self, listing: Listing) -> None:
        """A directory is not where the index has it: look at its own name, and list it where it turns up."""
        directory_id = listing.directory_id
        self.doubts.doubt_name(directory_id)
        if directory_id == ROOT_ID or self.directories.handle(directory_id) is None:
            return  # lost roots are the supervisor's; no handle: no such row, or a place where something is mounted
        if not self.limbo.strand_astray(listing):
            self.directories.trouble(directory_id, OSError(errno.ESTALE, os.strerror(errno.ESTALE)))

    def listed(self, directory_id: int, own: FileStat, at_ns: int, count: int) -> None:
        """Note what a directory's own stat was before it was listed, not before `at_ns` (Unix nanoseconds)."""
        self._connection.execute(
            "UPDATE directory SET mtime_ns = ?, ctime_ns = ?, listed_ns = ?, verified_ns = ?, problem = ? WHERE id = ?",
            (own.mtime_ns, own.ctime_ns, at_ns, at_ns, self.compare.problem, directory_id),
        )
        self._proofs.discard(directory_id)
        self.limbo.found(directory_id)
        self.names += count
        if directory_id == ROOT_ID:
            self.root_listed = True
