"""`[publish]`: the service writes the published copy every so often, in a thread of its own.

It reads the index as any other reader does and never meets the writer. How old the copy is tells when the next is due,
so a service that is restarted all the time does not write it all the time.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from indexer.errors import IndexerError
from indexer.service.beside import Beside
from indexer.service.jobs import Last, row_of
from indexer.service.priority import IdlePriority
from indexer.units import format_duration, show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.config.model import PublishConfig
    from indexer.service.daemon import Service
    from indexer.store import Store

log = logging.getLogger(__name__)

NAME = "publish"
READY = 0.2
"""Seconds between two looks at whether the index is complete, before the first copy."""
LOOK = 30.0
"""Seconds after which the age of the copy is looked at again: somebody may have removed it, or set the clock."""


class Publisher(Beside):
    """Publishes while it is entered. Any thread may ask for `row`."""

    def __init__(
        self, store: Store, service: Service, settings: PublishConfig, *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(store, "publish")
        self._service = service
        self._settings = settings
        self._clock = clock
        self._last: Last | None = None
        self._trouble = ""
        self._retry = 0.0

    def row(self) -> dict[str, Any]:
        """Return what `jobs` of `status` says of it."""
        every = f"every {format_duration(self._settings.every)}"
        return row_of(NAME, every, int(self.due_at()), self._last, self._trouble)

    def due_at(self) -> float:
        """Return when the next copy is due (Unix seconds): `every` after the one that is there, or after a failure."""
        now = self._clock()
        try:
            published = os.stat(self._settings.path).st_mtime
        except OSError:  # none yet, or its directory is away: then publishing says what is wrong
            return max(now, self._retry)
        return max(min(published, now) + self._settings.every, self._retry)

    def _run(self) -> None:
        IdlePriority(for_good=True).set(idle=True)
        while not self._service.board.snapshot.ready:
            if self._stop.wait(READY):
                return
        while True:
            left = self.due_at() - self._clock()
            if left <= 0:
                self.publish()
            elif self._stop.wait(min(left, LOOK)):
                return
            if self._stop.is_set():
                return

    def publish(self) -> None:
        """Write the copy now; a failure is logged, told by `row`, and tried again when the next one would be due."""
        from indexer.reports.publish import publish

        settings, began = self._settings, self._clock()
        self._last = Last(int(began), None, None)
        try:
            publish(
                self._store,
                settings.path,
                int(began),
                mode=settings.mode,
                group=settings.group,
                stopping=self._stop.is_set,
            )
        except (IndexerError, OSError) as error:
            self._failed(began, str(error))
        except Exception as error:
            log.exception("the copy could not be published")  # the edge: a defect here leaves the service alive
            self._failed(began, f"{type(error).__name__}: {error}")
        else:
            self._trouble, self._retry = "", 0.0
            self._last = Last(int(began), self._clock() - began, "done")

    def _failed(self, began: float, detail: str) -> None:
        self._retry = began + self._settings.every
        self._last = Last(int(began), self._clock() - began, "failed")
        if self._stop.is_set():
            return
        if detail != self._trouble:
            log.warning("publish: %s", show_text(detail))
        self._trouble = detail
