"""How much each class holds, noted now and then: before runs, and hourly by a service, for `report growth`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from indexer.enforce.ledger import Ledger
from indexer.enforce.samples import Sample
from indexer.errors import IndexerError
from indexer.index.queries import Reader
from indexer.service.beside import Beside
from indexer.service.thrash import note_thrash
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.store import Store

log = logging.getLogger(__name__)

HOUR = 3600
LOOK = 30.0
"""Seconds between two looks at whether a sample is due."""
APART = 900
"""Seconds between two samples that runs take: a run every minute does not write one each time."""


def take_sample(store: Store, reader: Reader, ledger: Ledger, now: int, apart: int = APART) -> bool:
    """Note what each class holds at `now` (Unix seconds), from the counters; False when that was done just now.

    A run does so before it removes anything, so that what it takes lies wholly after the sample. Raises LedgerError.
    """
    last = ledger.last_sample()
    if last is not None and last <= now < last + apart:
        return False
    totals = reader.class_totals()
    found = [Sample(now, name, one.files, one.bytes, one.allocated) for name, one in totals.items()]
    empty = [Sample(now, rule.name, 0, 0, 0) for rule in store.config.classes if rule.name not in totals]
    ledger.add_samples([*found, *empty])
    return True


class Sampler(Beside):
    """Takes the hourly samples of a service while it is entered."""

    def __init__(
        self, store: Store, *, ready: Callable[[], bool] = lambda: True, clock: Callable[[], float] = time.time
    ) -> None:
        """`ready` says whether the index may be gone by."""
        super().__init__(store, "samples")
        self._ready = ready
        self._clock = clock
        self._since = int(clock())
        self._trouble = ""

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            self.look()

    def look(self) -> bool:
        """Take a sample an hour after the last one, or after the start where there is none; tell whether one was."""
        now = int(self._clock())
        try:
            if not self._ready() or not self._due(now):
                return False
            with Reader.open(self._store.index_path) as reader, Ledger.open(self._store.ledger_path) as ledger:
                taken = take_sample(self._store, reader, ledger, now, HOUR)
                note_thrash(reader, ledger, now, self._store.config.ledger.thrash)
        except (IndexerError, OSError) as error:
            if str(error) != self._trouble:
                log.warning("usage was not noted: %s", show_text(str(error)))
            self._trouble = str(error)
            return False
        self._trouble = ""
        return taken

    def _due(self, now: int) -> bool:
        last: int | None = None
        if self._store.ledger_path.exists():
            with Ledger.open(self._store.ledger_path, read_only=True) as ledger:
                last = ledger.last_sample()
        return not min(now, self._since if last is None else last) > now - HOUR
