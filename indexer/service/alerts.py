"""What goes wrong, told: refusals and full filesystems by whoever ran, a degraded service by a thread beside it.

The writer never waits for a command: it publishes its state as ever, and this thread looks at it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from indexer.service.beside import Beside
from indexer.service.jobs import NOT_A_GUARD
from indexer.service.notifying import document, tell
from indexer.service.relief import STOPPED
from indexer.service.state import REASONS
from indexer.service.supervise import Backoff
from indexer.units import count, format_size, show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.enforce.result import RunResult
    from indexer.service.daemon import Service
    from indexer.store import Store

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at the service's state."""
STEADY = 5.0
"""A reason that passes sooner than this is not worth waking anybody."""
FIRST_TRY, LAST_TRY = 30.0, 3600.0
"""Seconds until a failed command is tried again: doubling from the first to the last."""


def alert_of_run(store: Store, result: RunResult, now: float) -> None:
    """Tell of what a run met: a guard that refused, marks that were reached, and low marks that were not."""
    if store.config.notify is not None and not result.dry_run:
        tell(store, _of_run(store, result, now), now)


def _of_run(store: Store, result: RunResult, now: float) -> Iterator[tuple[str, dict[str, Any]]]:
    if result.refused is not None and result.refused not in NOT_A_GUARD:
        message = f"{store.root}: a run was refused by {result.refused}: {result.message}"
        details: dict[str, Any] = {
            "run": result.run,
            "guard": result.refused,
            "reason": result.message,
            "remedy": result.remedy,
        }
        yield result.refused, document(store, "guard_refused", now, message, **details)
    for mark in result.watermarks:
        name = mark["filesystem"]
        where = show_text(name) or "the store's filesystem"
        gained = f"{format_size(mark['purged_bytes'])} of the trash and {count(result.files_removed)} went"
        message = f"{store.root}: {where} was too full ({mark['mark']}): {gained}"
        yield name, document(store, "watermark_reached", now, message, run=result.run, **mark)
        if mark["stopped"] not in {"", "interrupted"}:
            message = f"{store.root}: {where} stays too full ({mark['mark']}): {STOPPED[mark['stopped']]}"
            details = {"run": result.run, **mark, "reason": STOPPED[mark["stopped"]], "kept": dict(result.kept)}
            yield name, document(store, "low_mark_unreachable", now, message, **details)


class Alerts(Beside):
    """Tells of a service that becomes degraded, and of its recovery, while it is entered."""

    _leave_after = LOOK  # a command that runs just now is not waited for

    def __init__(
        self,
        store: Store,
        service: Service,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store, "alerts")
        self._service = service
        self._clock = clock
        self._monotonic = monotonic
        self._since: dict[str, float] = {}
        """Reasons in force, and since when (monotonic)."""
        self._told: set[str] = set()
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._backoff = Backoff(FIRST_TRY, LAST_TRY)
        self._not_before = 0.0

    def adopt(self, store: Store) -> None:
        """From now on by this configuration; what failed is tried at once."""
        self._not_before = 0.0
        self._backoff.reset()
        super().adopt(store)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._poked.wait(None if self._store.config.notify is None else LOOK)  # nobody to tell: nothing to see
            self._poked.clear()
            if self._stop.is_set():
                return
            try:
                self.look()
            except Exception:
                log.exception("telling of the service's state failed")  # the edge: the service lives on

    def look(self) -> None:
        """Notice reasons that came and went, and tell of them."""
        if self._store.config.notify is None:
            return
        self._notice()
        if not self._waiting or self._monotonic() < self._not_before:
            return
        waiting, self._waiting = self._waiting, []
        for number, one in enumerate(waiting):
            if tell(self._store, [one], self._clock()):
                self._waiting = waiting[number:]
                self._not_before = self._monotonic() + self._backoff.next()
                return
        self._backoff.reset()

    def _notice(self) -> None:
        state, now = self._service.board.snapshot, self._monotonic()
        present = dict(zip(state.reasons, state.details, strict=False))
        for reason, detail in present.items():
            since = self._since.setdefault(reason, now)
            # A run that was refused has been told by whoever ran it.
            if reason in self._told or reason == "guard_refused" or now - since < STEADY:
                continue
            self._told.add(reason)
            message = f"{self._store.root}: degraded: {reason}: {REASONS[reason]}"
            details = {"reason": reason, "meaning": REASONS[reason], "detail": detail}
            self._add(reason, document(self._store, "degraded", self._clock(), message, **details))
        for reason in [one for one in self._since if one not in present]:
            del self._since[reason]
            if reason in self._told:
                self._told.discard(reason)
                message = f"{self._store.root}: {reason} has passed"
                self._add(reason, document(self._store, "recovered", self._clock(), message, reason=reason))

    def _add(self, about: str, told: dict[str, Any]) -> None:
        """Put it in line; of the same reason only the last word counts, so that the line stays short."""
        self._waiting = [one for one in self._waiting if one[0] != about]
        self._waiting.append((about, told))
