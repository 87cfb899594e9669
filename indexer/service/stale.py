"""Whether somebody else already sees to removal: what the cron fallback asks before it does anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.enforce.ledger import Ledger
from indexer.enforce.result import RunResult
from indexer.errors import ServiceError
from indexer.service.client import ANSWER_SECONDS, request
from indexer.service.state import HEALTHY
from indexer.units import format_duration

if TYPE_CHECKING:
    from indexer.store import Store


def fresh(store: Store, age: int, now: float) -> str | None:
    """Say why nothing needs to be done: the service is healthy, or the last cleanup is younger than `age` seconds.

    None when the service is dead, does not answer or is degraded (its canary failed, a guard refused …), and the last
    whole cleanup, whoever started it, is older. Raises LedgerError.
    """
    try:
        state = request(store, "status", ANSWER_SECONDS)
    except ServiceError:
        state = {}
    if state.get("state") in HEALTHY:
        scheduled = any(job["name"] == "cleanup" for job in state.get("jobs", ()))
        return "the service is healthy" + ("" if scheduled else ", though it has no cleanup in its schedule")
    if not store.ledger_path.exists():
        return None
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        return younger(ledger, age, now)


def nothing_done(why: str, *, dry_run: bool) -> dict[str, Any]:
    """Return the result of a cleanup that was not needed."""
    return {**RunResult(skipped=True, dry_run=dry_run).as_json(), "why": why}


def younger(ledger: Ledger, age: int, now: float) -> str | None:
    """Say when the last cleanup ended if that is less than `age` seconds ago."""
    last = ledger.last_run("cleanup", (), whole=True)
    if last is None or last.finished is None or now - last.finished >= age:
        return None
    return f"the last cleanup was {format_duration(max(0, int(now) - last.finished))} ago (run {last.id})"
