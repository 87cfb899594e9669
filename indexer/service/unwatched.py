"""The directories for which the kernel had no watch left: looked into from time to time, and before a barrier opens."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from indexer.events import ROOT_ID, Rescan
from indexer.index.directories import DetachedError
from indexer.index.quick import look_again
from indexer.units import text_of
from indexer.watch.source import DirectoryWatcher

if TYPE_CHECKING:
    from indexer.index.apply import Index
    from indexer.watch.source import Watcher

LOOK = 30.0
"""Seconds between two looks at their times, which tell that names in them have changed."""
LIST = 900.0
"""Seconds between two listings of all of them, which see the rest: what was written in place."""
PORTION = 2_000
"""Directories looked at in one turn of the loop: 20 ms."""
SHOWN = 20
"""Paths that `status` names."""


class Unwatched:
    """Polls them in small portions. Belongs to the writer; times are monotonic seconds."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher if isinstance(watcher, DirectoryWatcher) else None
        self._looked = self._listed = float("-inf")
        self._waiting: deque[int] = deque()
        self._counted = 0

    def __len__(self) -> int:
        return len(self._watcher.unwatched) if self._watcher is not None else 0

    @property
    def deaf(self) -> bool:
        """Not even the root is watched: a canary would never be heard."""
        return self._watcher is not None and ROOT_ID in self._watcher.unwatched

    def look(self, index: Index, now: float, *, asked: bool) -> None:
        """Doubt what may have changed; `asked`: somebody waits until all that has happened is in the index."""
        if self._watcher is None or not self:
            return
        if asked or now - self._listed >= LIST:
            for directory_id in self._watcher.unwatched:
                index.request_rescan(Rescan(directory_id, tree=False, reason="unwatched"))
            self._listed = self._looked = now
            self._waiting.clear()
        elif now - self._looked >= LOOK and not self._waiting:
            self._looked = now
            self._waiting.extend(self._watcher.unwatched)
        portion = [self._waiting.popleft() for _ in range(min(PORTION, len(self._waiting)))]
        look_again(index, portion)

    def named(self, index: Index) -> tuple[str, ...] | None:
        """Return the paths of the first of them, relative to the root; None while their number is what it was."""
        count = self._watcher.counters.unwatched if self._watcher is not None else 0
        if count == self._counted or self._watcher is None:
            return None
        self._counted = count
        paths = []
        for directory_id in sorted(self._watcher.unwatched)[:SHOWN]:
            try:
                paths.append(text_of(index.directories.path(directory_id)) or ".")
            except DetachedError:
                continue  # on its way out
        return tuple(paths)
