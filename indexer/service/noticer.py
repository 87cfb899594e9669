"""The thread of a service that publishes notices."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from indexer.enforce.ledger import Ledger
from indexer.errors import IndexerError
from indexer.index.queries import Reader
from indexer.service.beside import Beside
from indexer.service.noticing import Told, publish_notices, wants_notices
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.store import Store

log = logging.getLogger(__name__)

LOOK = 60.0
"""Seconds between two looks of a service at what will be due."""


class Noticer(Beside):
    """Publishes the notices of a service while it is entered: no run has to wait for a command."""

    def __init__(
        self, store: Store, *, ready: Callable[[], bool] = lambda: True, clock: Callable[[], float] = time.time
    ) -> None:
        """`ready` says whether the index may be gone by."""
        super().__init__(store, "notices")
        self._ready = ready
        self._clock = clock
        self._trouble = ""

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._poked.wait(LOOK if self._ready() else 1.0)
            self._poked.clear()

    def look(self) -> Told:
        """Publish what is to be told now."""
        store = self._store
        if not wants_notices(store.config) or not self._ready():
            return Told()
        try:
            with Reader.open(store.index_path) as reader, Ledger.open(store.ledger_path) as ledger:
                told = publish_notices(store, reader, ledger, self._clock, stop=self._stop.is_set)
        except (IndexerError, OSError) as error:
            self._say(str(error))
            return Told(failed=str(error))
        except Exception as error:
            log.exception("publishing notices failed")  # the edge: the service lives on
            return Told(failed=str(error))
        self._trouble = ""
        return told

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("notices are not published: %s", show_text(trouble))
        self._trouble = trouble
