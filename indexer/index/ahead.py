"""Lists with a second process ahead: it is asked for directories, and its answers are applied in that order."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from indexer.index.directories import DetachedError, GoneError
from indexer.index.walker import GONE, Walker, WalkerDiedError
from indexer.syscalls.stat import unpack_stat

if TYPE_CHECKING:
    from indexer.index.lister import Lister

WORTH_A_WALKER = 20_000
"""Names after which a second process pays for its start (40 ms)."""


class Ahead:
    """The lister, and the walker where one is allowed and worth it."""

    def __init__(self, connection: Any, lister: Lister) -> None:
        self._connection = connection
        self._lister = lister
        self._walker: Walker | None = None
        self.allowed = False

    def __bool__(self) -> bool:
        return bool(self._walker)

    def __len__(self) -> int:
        return len(self._walker or ())

    @property
    def urgent(self) -> bool:
        """Something is under way that is not mere verification."""
        return self._walker is not None and self._walker.urgent

    def list_some(self, budget: int) -> None:
        """List directories of the backlog with about `budget` names."""
        left = budget
        while left > 0:
            try:
                if self.allowed and self._lister.names > WORTH_A_WALKER:
                    self._ask()
                if self._walker:
                    left -= 1 + self._apply_oldest(self._walker)
                    continue
            except WalkerDiedError:  # killed, or there is no room for it: go on alone
                self.abandon()
                self.allowed = False
                continue
            item = self._lister.backlog.take()
            if item is None:
                return
            listing, verify = item
            left -= 1 + self._lister.list(listing, verify=verify)

    def doubt(self, directory_id: int) -> None:
        """Something happened in a directory: if it is under way, what comes back may be old."""
        if self._walker:
            self._walker.doubt(directory_id)

    def begin(self) -> None:
        """Start a transaction."""

    def rollback(self) -> None:
        """It failed: what this transaction took from the backlog for the walker is back there already."""
        self._end_before(self._lister.turn.number)

    def abandon(self) -> None:
        """End the walker; what it had under way goes back into the backlog."""
        self._end_before(self._lister.turn.number + 1)

    def _end_before(self, turn: int) -> None:
        walker, self._walker = self._walker, None
        if walker is not None:
            for asked in walker.abandon():
                if asked.turn < turn:
                    self._lister.backlog.push(asked.listing, verify=asked.verify)

    def _ask(self) -> None:
        """Keep the walker busy."""
        lister = self._lister
        directories = lister.directories
        if self._walker is None:
            try:
                self._walker = Walker(list(directories.filesystems.values()))
            except OSError as error:  # no memory, no process, no descriptor to spare
                raise WalkerDiedError from error
        while self._walker.room:
            item = lister.backlog.take()
            if item is None:
                return
            listing, verify = item
            row = self._connection.execute(
                "SELECT handle, filesystem_id FROM directory WHERE id = ?", (listing.directory_id,)
            ).fetchone()
            if row is None or row[0] is None:
                lister.doubts.doubt_name(listing.directory_id)
                continue
            try:
                path = b"" if directories.handles_open else directories.path(listing.directory_id)
                self._register(listing.directory_id)
            except DetachedError:
                lister.limbo.strand(listing)
                continue
            except GoneError:
                lister.gone(listing)
                continue
            except OSError as error:
                directories.trouble(listing.directory_id, error)
                continue
            if not self._walker.request(listing, lister.turn, row[1], row[0], path, verify=verify):
                lister.backlog.push(listing, verify=verify)
                return

    def _register(self, directory_id: int) -> None:
        """Tell the watcher before the walker lists."""
        watcher, directories = self._lister.watcher, self._lister.directories
        key = directories.key(directory_id)
        if not watcher.wants_descriptor:
            watcher.register(directory_id, -1, key)
            return
        watcher.register(directory_id, directories.open(directory_id), key)

    def _apply_oldest(self, walker: Walker) -> int:
        """Apply the walker's oldest answer; return how many names it had."""
        answer = walker.receive()
        lister, asked = self._lister, answer.asked
        listing, verify = asked.listing, asked.verify
        directory_id = listing.directory_id
        if asked.turn < lister.turn.number:
            lister.backlog.done(listing, verify=verify)
        if not lister.directories.exists(directory_id):
            return 0
        if answer.doubted or answer.code == errno.EFBIG:
            return lister.list(listing, verify=verify)
        own = unpack_stat(answer.own)
        if answer.code == GONE or (answer.code == 0 and own.links == 0):
            lister.gone(listing)
            return 0
        if answer.code:
            lister.directories.trouble(directory_id, OSError(answer.code, os.strerror(answer.code)))
            return 0
        fds: list[int] = []

        def open_directory() -> int:
            fds.append(lister.directories.open(directory_id, listing=True))
            return fds[-1]

        try:
            count = lister.compare.prefetched(listing, answer.names, answer.stats, open_directory, verify=verify)
        except DetachedError:
            lister.limbo.strand(listing)
            return 0
        except GoneError:
            lister.gone(listing)
            return 0
        except OSError as error:
            lister.directories.trouble(directory_id, error)
            return 0
        finally:
            for fd in fds:
                os.close(fd)
        # it may have been listed in an earlier batch than it is written in
        lister.listed(directory_id, own, asked.at_ns, count)
        return count
