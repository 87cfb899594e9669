"""What watches the watcher: root identity, an end-to-end canary, back-off, and which failures mend themselves."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from indexer.events import CHANGED
from indexer.service.unwatched import Unwatched
from indexer.units import show_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indexer.events import Barrier, Batch
    from indexer.index.apply import Index
    from indexer.watch.mount_table import MountTable
    from indexer.watch.native import NativeWatcher
    from indexer.watch.source import Watcher

CANARY_PERIOD = 4.0
EARLY = 0.1
"""Seconds by which a turn may come before something is due, and do it: at rest turns come on a grid."""
CANARY_PATIENCE = 5.0
"""Seconds from opening the root until that event must have been seen; both together within the ten that health has.

Only seconds in which the writer runs count: who was stopped (SIGSTOP, a debugger, a starved machine) has heard nothing.
"""
AWAKE = 1.0
"""Seconds between two turns of the writer that count at most."""
LOOK = 1.0
"""Seconds between two looks at what a plain stat of the root does not tell."""


class GapError(Exception):
    """The session can no longer vouch for the index: start afresh with a quick pass and verify everything.

    `reason` is one of `state.REASONS`; `detail` says what exactly happened, names already escaped.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Backoff:
    """Delays in seconds that double up to a limit."""

    def __init__(self, first: float = 0.25, limit: float = 15.0) -> None:
        self._first = self._next = first
        self._limit = limit

    def next(self) -> float:
        """Return how long to wait now; the next wait is twice as long."""
        delay, self._next = self._next, min(self._next * 2, self._limit)
        return delay

    def reset(self) -> None:
        """It went well: start from the first delay again."""
        self._next = self._first


class RootWatch:
    """Whether the store's path still leads to the directory whose descriptor the session holds."""

    def __init__(
        self, root: Path, root_fd: int, verify: Callable[[], object] = lambda: None, marker: Path | None = None
    ) -> None:
        """`verify` looks at the store's marker, and raises an IndexerError where it is gone or another's.

        With `marker`, its path, that is done only when a stat of it says something else than the last time.
        """
        self._root = root
        self._fd = root_fd
        self._verify = verify
        self._marker = marker
        self._seal: tuple[int, ...] | None = None
        self._looked = float("-inf")
        held = os.fstat(root_fd)
        self._identity = (held.st_dev, held.st_ino)

    @property
    def read_only(self) -> bool:
        """The filesystem takes no writes now: mounted so, or the kernel's answer to an error."""
        return bool(os.fstatvfs(self._fd).f_flag & os.ST_RDONLY)

    def look(self, now: float) -> bool:
        """Look at the marker too, once a second (`now` is monotonic); True when it did. Raises IndexerError."""
        if now - self._looked < LOOK:
            return False
        self._looked = now
        seal = self._stat_marker()
        if seal is None or seal != self._seal:
            self._verify()
            self._seal = seal
        return True

    def _stat_marker(self) -> tuple[int, ...] | None:
        if self._marker is None:
            return None
        try:
            found = os.lstat(self._marker)
        except OSError:
            return None  # which error, and what to do, `verify` says
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def check(self) -> None:
        """Compare device and inode, which are stable while the descriptor is open. Raises GapError."""
        try:
            found = os.stat(self._root)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EIO, errno.EACCES}:
                raise GapError("root_missing", f"the root cannot be reached: {error.strerror}") from error
            raise
        if (found.st_dev, found.st_ino) == self._identity:
            return
        if stat.S_ISDIR(found.st_mode) and not os.listdir(self._root):
            raise GapError("root_missing", "an empty directory stands in its place: a mount point without its mount?")
        raise GapError("root_changed", "another directory or filesystem stands in its place")


class Canary:
    """Opens and closes the root now and then, and waits to see just that come out of the kernel.

    A living thread proves nothing. Nothing is read or written, so it works on a read-only store and wakes no idle disk.
    """

    def __init__(self, root: Path, watcher: Watcher) -> None:
        self._root = root
        self._watcher = watcher
        self._sung = float("-inf")
        self._before = 0
        self._heard = 0.0
        self._waited = 0.0
        self._barrier: Barrier | None = None

    @property
    def barrier(self) -> Barrier | None:
        """What it waits for now; None when it has been heard."""
        return self._barrier

    def sing(self, now: float) -> None:
        """Open and close the root when it is time again; `now` is monotonic."""
        if self._barrier is not None or now - self._sung < CANARY_PERIOD - EARLY:
            return
        self._sung = self._heard = now
        self._waited = 0.0
        self._before = self._watcher.counters.events
        self._barrier = self._song()

    def _song(self) -> Barrier | None:
        os.close(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return self._watcher.barrier()

    def hear(self, batch: Batch, now: float) -> None:
        """Look for the song in a batch taken at `now`. Raises GapError when it is overdue or not in it."""
        if self._barrier is None:
            return
        self._waited += min(now - self._heard, AWAKE)
        self._heard = now
        if self._barrier not in batch.barriers:
            if self._waited > CANARY_PATIENCE:
                raise GapError("canary_failed", f"nothing was seen for {CANARY_PATIENCE:.0f} s")
            return
        batch.barriers.remove(self._barrier)  # nobody waits for it: verification keeps its own pace
        self._barrier = None
        if self._watcher.counters.events == self._before:
            raise GapError("canary_failed", "the kernel no longer reports what happens in the store")


class CookieCanary(Canary):
    """The same for watchdog's own observer, which hears no opens: a cookie file, made and removed.

    Where none can be made (a read-only tree) it is silent; a periodic look at everything is what there is then.
    """

    def __init__(self, root: Path, watcher: NativeWatcher) -> None:
        super().__init__(root, watcher)
        self._native = watcher

    def _song(self) -> Barrier | None:
        return self._native.cookie()


class Supervisor:
    """What is asked of one session at every turn of the loop."""

    def __init__(
        self, watcher: Watcher, root: RootWatch, canary: Canary | None, mounts: MountTable | None = None
    ) -> None:
        self.root = root
        self._mounts = mounts
        self._watcher = watcher
        self._canary = canary
        self.unwatched = Unwatched(watcher)

    @property
    def listening(self) -> bool:
        """The canary has sung, and has not been heard yet."""
        return self._canary is not None and self._canary.barrier is not None

    def check(self, batch: Batch, now: float, *, ready: bool) -> None:
        """Ask whether events still come and the root is still ours; `now` is monotonic. Raises GapError."""
        self.root.check()
        if not self._watcher.alive():
            raise GapError("emitter_dead", "the watcher's thread died or its observer fell silent")
        if self._canary is not None and not self.unwatched.deaf:
            self._canary.hear(batch, now)
            if ready:  # before, the root may not be watched yet
                self._canary.sing(now)

    def follow_mounts(self, index: Index, batch: Batch) -> None:
        """Let the batch look at every place where something was mounted or unmounted: no event tells it.

        Raises GapError where it is a filesystem that the store names: it is opened anew, or goes missing.
        """
        changes = self._mounts.changes() if self._mounts is not None else []
        if not changes:
            return
        named = {filesystem.path for filesystem in index.directories.filesystems.values() if filesystem.named}
        for place in changes:
            if place in named:
                raise GapError("session_changed", f"{show_name(place)} was mounted or unmounted")
            directory, _, name = place.rpartition(b"/")
            directory_id = index.directories.at_path(directory)
            if directory_id is not None:
                batch.hint(directory_id, name, CHANGED)

    def look(self, index: Index, batch: Batch, now: float) -> tuple[str, ...] | None:
        """Doubt what is not watched; return the paths of some of it when their number has changed (see `Unwatched`)."""
        own = self._canary.barrier if self._canary is not None else None
        self.unwatched.look(index, now, asked=any(barrier is not own for barrier in batch.barriers))
        return self.unwatched.named(index)
