"""Watermarks that are kept as soon as they are reached: this thread asks how full each filesystem is, and makes room.

every few seconds: above a high mark? → trash, then files in order, down to the low mark → cool-down

Whoever fills a filesystem need not be seen by the watcher (a neighbour, a log, a database), so nobody pokes: statvfs(3)
costs some microseconds. A run that could not reach the low mark is followed by a longer rest, since to look again at
once would find the same files held, in use or refused.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from indexer.errors import BusyError, IndexerError
from indexer.index.queries import Reader
from indexer.policy.watermark import shortage
from indexer.service.beside import Beside
from indexer.service.current import ledger_to_read
from indexer.service.room import room_of, taken_by
from indexer.store.filesystems import filesystems
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.enforce.result import RunResult
    from indexer.rules import Watermark
    from indexer.store import Store

log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between two looks at the filesystems."""
COOL = 60.0
"""Seconds after a run that reached the low marks, or after somebody else's run was found under way."""
FRUITLESS = 300.0
"""Seconds after a run that could not: what it met is still there, and what it removed may come free late."""


class RoomWatch(Beside):
    """Works while it is entered."""

    def __init__(
        self,
        store: Store,
        *,
        ready: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        interval: float = LOOK,
    ) -> None:
        """`ready` says whether the index may be gone by; `interval` is in seconds."""
        super().__init__(store, "room")
        self._ready = ready
        self._clock = clock
        self._monotonic = monotonic
        self._interval = interval
        self._not_before = 0.0

    def adopt(self, store: Store) -> None:
        """From now on by this store's policy; its marks may be lower."""
        self._not_before = 0.0
        super().adopt(store)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            if self._ready():
                self.look()

    def look(self) -> RunResult | None:
        """Look, and make room where a high mark is reached and nothing speaks against it; return what came of it."""
        if self._monotonic() < self._not_before or not self._short():
            return None
        result = None
        rest = FRUITLESS
        try:
            result = self._relieve()
            if all(not mark["stopped"] for mark in result.watermarks) and result.refused is None:
                rest = COOL
        except BusyError:
            rest = COOL  # another run; perhaps it does the work
        except (IndexerError, OSError) as error:
            log.warning("watermark: %s", show_text(str(error)))
        except Exception:
            log.exception("the watermark check failed")  # the edge: a defect in a run leaves the service alive
        self._not_before = self._monotonic() + rest
        return result

    def _short(self) -> bool:
        """Tell whether a filesystem of the store is above one of its high marks, and the configuration acts on it."""
        config = self._store.config
        if config.watermark is None or config.store.mode != "enforce":
            return False
        try:
            root_fd = self._store.open_root()
        except (IndexerError, OSError):
            return False  # a root that is gone or another is told by the watcher, and touched by nobody
        try:
            mark, found = config.watermark, filesystems(config.store.filesystems, root_fd)
            if any(shortage(mark, room_of(fd)) is not None for _, fd in found):
                return True
            return mark.capacity is not None and shortage(mark, room_of(root_fd), self._taken(mark)) is not None
        except (IndexerError, OSError):
            return False
        finally:
            os.close(root_fd)

    def _taken(self, mark: Watermark) -> int | None:
        with ExitStack() as stack:
            reader = stack.enter_context(Reader.open(self._store.index_path))
            return taken_by(mark, reader, ledger_to_read(self._store, stack))

    def _relieve(self) -> RunResult:
        from indexer.service.cleanup import Scope, run

        result = run(self._store, self._clock, Scope(), kind="watermark", trigger="watermark", stop=self._stop.is_set)
        log.info("watermark: %d files removed, %d bytes freed", result.files_removed, result.bytes_freed)
        return result
