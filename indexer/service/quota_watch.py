"""Quotas that are enforced as soon as they are exceeded: the writer pokes, this thread looks at the counters and runs.

poke → over a high mark, by the counters? → a run of kind `quota` → cool-down; pokes meanwhile are one look after it

A class, or child, of which a run could take nothing is left alone for a while; that keeps nobody from the others.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Self

from indexer.errors import BusyError, IndexerError
from indexer.index.queries import Reader
from indexer.reports.holdings import holdings
from indexer.service.beside import Beside
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.policy.quota import Place
    from indexer.store import Store

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two looks: adding up the counters must not keep pace with single events."""
SHARE = 20
"""A look that took long (quotas per child in very many directories) is followed by so many times as long a pause."""
COOL = 10.0
"""Seconds after a run that removed something, or after somebody else's run was found under way."""
FRUITLESS = 300.0
"""Seconds for which a place is left alone after a run that could remove nothing of it (held, in use, too young,
refused), and all of them after an error."""


class QuotaWatch(Beside):
    """Works while it is entered. Any thread may `poke`."""

    def __init__(
        self,
        store: Store,
        *,
        ready: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ready` says whether the index may be gone by."""
        super().__init__(store, "quota")
        self._ready = ready
        self._clock = clock
        self._monotonic = monotonic
        self._not_before = 0.0
        self._pause = PAUSE
        self._barren: dict[Place, float] = {}
        """Places of which the last run could take nothing, and until when (monotonic) they are left alone."""

    def __enter__(self) -> Self:
        """Start the thread; what is over its quota already is found by the first look."""
        self.poke()
        return super().__enter__()

    def adopt(self, store: Store) -> None:
        """From now on by this store's policy; it may be over at once."""
        self._not_before = 0.0
        self._barren.clear()
        super().adopt(store)

    def _run(self) -> None:
        while True:
            self._poked.wait(self._patience())
            self._stop.wait(max(self._not_before - self._monotonic(), 0.0))
            if self._stop.is_set():
                return
            self._poked.clear()
            if not self._ready():
                self._poked.set()  # nothing is forgotten while the first pass runs
            else:
                self.look()
            self._stop.wait(self._pause)

    def look(self) -> bool:
        """Look, and run where a quota is exceeded and nothing speaks against it; tell whether there was a run."""
        if self._monotonic() < self._not_before:
            return False
        try:
            over = self._over()
            if not over:
                return False
            self._evict(over)
        except BusyError:
            self._again(COOL)  # another run; perhaps it does the work
            return False
        except (IndexerError, OSError) as error:
            log.warning("quota: %s", show_text(str(error)))
            self._again(FRUITLESS)
            return False
        except Exception:
            log.exception("the quota check failed")  # the edge: a defect in a run leaves the service alive
            self._again(FRUITLESS)
            return False
        self._again(COOL)
        return True

    def _over(self) -> set[Place]:
        """Return the classes and children that are over their quota, without those that are left alone."""
        config = self._store.config
        rules = [rule for rule in config.classes if rule.evicts]
        if config.store.mode != "enforce" or not rules:
            return set()
        began = self._monotonic()
        with Reader.open(self._store.index_path) as reader:
            over = {holding.place for holding in holdings(reader, rules) if holding.over() is not None}
        now = self._monotonic()
        self._pause = max(PAUSE, SHARE * (now - began))
        self._barren = {place: until for place, until in self._barren.items() if until > now and place in over}
        return over - self._barren.keys()

    def _evict(self, over: set[Place]) -> None:
        from indexer.service.cleanup import Scope, run

        result = run(self._store, self._clock, Scope(), kind="quota", trigger="event", stop=self._stop.is_set)
        log.info("quota: %d files removed, %d bytes freed", result.files_removed, result.bytes_freed)
        if result.truncated:  # to its oldest part: nobody knows yet what can be taken of the others
            self._poked.set()
            return
        taken = {name for name, part in result.classes.items() if part.files_removed}
        until = self._monotonic() + FRUITLESS
        self._barren |= {place: until for place in over if place[0] not in taken}

    def _patience(self) -> float | None:
        """Return after how many seconds a look is due though nobody pokes: a hold may have ended, a file grown old."""
        return max(min(self._barren.values()) - self._monotonic(), 0.0) if self._barren else None

    def _again(self, seconds: float) -> None:
        self._not_before = self._monotonic() + seconds
        if seconds == COOL:
            self._poked.set()  # what came during the run, or was left by another one
