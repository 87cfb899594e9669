"""Health for machines: 200 or 503, and codes of reasons; what a watchdog, a balancer and `GET /health` go by."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from indexer.errors import IndexerError, ServiceError
from indexer.service.client import ANSWER_SECONDS, NoServiceError, request
from indexer.service.state import HEALTHY

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.service.daemon import Service
    from indexer.store import Store

SILENCE = 60.0
"""Seconds without a turn of the writer after which it counts as stuck. Its longest transaction takes a few."""

Health = tuple[int, dict[str, Any]]
"""(HTTP status, document)."""


def health_of(service: Service, monotonic: Callable[[], float] = time.monotonic) -> Health:
    """Return the health of a service in this process."""
    state = service.board.snapshot
    if service.stopping:
        return _unhealthy("stopping")
    if monotonic() - service.beat > SILENCE:
        return _unhealthy("not_answering")
    if state.state not in HEALTHY:
        return _unhealthy(*state.reasons)
    return _healthy(state.state, state.pending, state.lag_seconds)


def restart_would_help(service: Service, monotonic: Callable[[], float] = time.monotonic) -> bool:
    """Say whether the service hangs or is deaf, so that its manager should start it anew.

    A full disk, a root that is away or a guard that refuses is not mended by that.
    """
    if monotonic() - service.beat > SILENCE:
        return True
    return not {"canary_failed", "emitter_dead"}.isdisjoint(service.board.snapshot.reasons)


def health_from_outside(store: Store) -> Health:
    """Return the health of whatever service answers at the store's socket."""
    try:
        state = request(store, "status", ANSWER_SECONDS)
    except NoServiceError:
        return _unhealthy("stopped")
    except ServiceError:
        return _unhealthy("not_answering")
    if state["state"] not in HEALTHY:
        return _unhealthy(*state["reasons"])
    return _healthy(state["state"], state["pending"], state["lag_seconds"])


def _healthy(state: str, pending: int, lag: float) -> Health:
    return 200, {"status": "ok", "state": state, "pending": pending, "lag_seconds": round(lag, 3)}


def _unhealthy(*reasons: str) -> Health:
    """Codes only: whoever greps the body for the two letters must not find them (CONTRACT §7)."""
    return 503, without_ok({"status": "unhealthy", "reasons": list(reasons)}, {"status": "unhealthy", "reasons": []})


def unavailable(error: IndexerError) -> dict[str, Any]:
    """Return the body of a 503: the error, or its code alone where a path or a word has the two letters."""
    document = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return without_ok({"error": document}, {"error": {"code": error.code, "message": "", "remedy": ""}})


def without_ok(document: dict[str, Any], instead: dict[str, Any]) -> dict[str, Any]:
    """Return `document`, or what is to be said instead when it has the letters that mean health to those who grep."""
    return instead if "o" + "k" in json.dumps(document).lower() else document
