"""What is scheduled, when it is due, and what became of it: the ledger knows, whoever ran it.

A job is due when the first time of its schedule after its last whole run has come. That one rule makes it run once
across processes (asked again under the run lock), coalesces what was missed, and catches up after down-time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.enforce.ledger import Ledger
from indexer.service.triggers import next_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.enforce.result import RunResult
    from indexer.enforce.rows import RunRow
    from indexer.store import Store

WHOLE = ("schedule", "fallback")
"""Triggers whose runs do all that the job does; a command may have been narrowed to a class or a subtree."""
REMOVING = ("cleanup", "quota")
"""Jobs that are runs, with rows in the ledger."""
NOT_A_GUARD = frozenset({"mode", "answer", "platform"})
"""Refusals that say nothing about the store's health."""

RESULTS = {
    "done": "it did all that was due",
    "report": "the store is in report mode: planned and recorded, nothing removed",
    "errors": "some files could not be removed; `actions` names them",
    "truncated": "cut to the oldest part by max_files or max_bytes; the next run goes on",
    "interrupted": "stopped, or killed; it is due again",
    "refused": "a guard refused it; the run's row says which",
    "failed": "it could not begin: see `detail`",
}
"""Every `result` of a job in `status`."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last time a job ran. Unix seconds."""

    started: int
    seconds: float | None
    """None while it runs, or where nobody noted it."""
    result: str | None
    """Of `RESULTS`; None while it runs."""


def last_cleanup(ledger: Ledger, kind: str = "cleanup", triggers: Sequence[str] = WHOLE) -> Last | None:
    """Return the last run of this kind that was started by one of `triggers`, whatever became of it."""
    row = ledger.last_run(kind, triggers)
    return None if row is None else _last_of(row)


def is_due(text: str, timezone: str, last: int, now: float, jitter: int = 0) -> bool:
    """Say whether a job that ran at `last` has a time of its own since; later by `jitter` for who only looks."""
    following = next_after(text, timezone, last)
    return following is not None and following + jitter <= now


def due_since(ledger: Ledger, kind: str, since: int) -> int:
    """Return from when on a run is wanted: the start of the last one that came to its end, else `since`."""
    row = ledger.last_run(kind, WHOLE, whole=True)
    return since if row is None else row.started


def _last_of(row: RunRow) -> Last:
    if row.finished is None:
        return Last(row.started, None, None)
    return Last(row.started, float(row.finished - row.started), _word(row))


def _word(row: RunRow | RunResult) -> str:
    if row.refused is not None:
        return "report" if row.refused == "mode" else "refused"
    if row.interrupted:
        return "interrupted"
    if row.errors:
        return "errors"
    return "truncated" if row.truncated else "done"


def refusing_guard(ledger: Ledger) -> str | None:
    """Return the guard that refused the last run that removes, None when it was not refused by one."""
    rows = [row for kind in ("cleanup", "expire", "quota") if (row := ledger.last_run(kind, ())) is not None]
    last = max(rows, key=lambda row: row.id, default=None)
    return None if last is None or last.refused is None or last.refused in NOT_A_GUARD else last.refused


def rows_without_service(store: Store) -> list[dict[str, Any]]:
    """Return `jobs` of `status` while nobody runs them: there is no next time, but there may have been a last."""
    jobs = store.config.schedule.jobs()
    last: dict[str, Last | None] = {}
    if not jobs.keys().isdisjoint(REMOVING) and store.ledger_path.exists():
        with Ledger.open(store.ledger_path, read_only=True) as ledger:
            last = {name: last_cleanup(ledger, name) for name in REMOVING}
    return [row_of(name, when, None, last.get(name)) for name, when in jobs.items()]


def row_of(name: str, when: str, following: int | None, last: Last | None, detail: str = "") -> dict[str, Any]:
    """Return one element of `jobs`. Times are Unix seconds, `seconds` is how long it took."""
    return {
        "name": name,
        "when": when,
        "next": following,
        "last": None if last is None else last.started,
        "seconds": None if last is None else last.seconds,
        "result": "failed" if detail else None if last is None else last.result,
        "running": last is not None and last.result is None and last.seconds is None,
        "detail": detail,
    }
