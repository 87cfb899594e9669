"""What a running service answers: settle, status, scan, stop. Later rooms register theirs beside these."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from indexer.errors import ServiceError, UsageError
from indexer.events import ROOT_ID, DirectoryKey, Rescan
from indexer.scan import doubt_changed
from indexer.service.control import Answer, Progress, operation
from indexer.service.sent import path_sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indexer.index.apply import Index
    from indexer.service.daemon import Service

REPORT_SECONDS = 0.5
"""Between two progress lines."""
MAX_SETTLE = 7 * 86_400.0


@operation("settle", "read")
def settle(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer once all that happened before the call is in the index. Raises ServiceError after `timeout` seconds."""
    timeout = _number(arguments, "timeout", 60.0)
    started = time.monotonic()
    if not service.settle(min(timeout, MAX_SETTLE)):
        state = service.board.snapshot
        raise ServiceError(
            f"not settled after {timeout:g} s: {state.pending} directories and names are waiting",
            remedy=f"the service is {state.state}"
            + (f": {', '.join(state.reasons)}" if state.reasons else "; give it a longer --timeout"),
        )
    return {"seconds": round(time.monotonic() - started, 6)}


@operation("status", "read")
def status(service: Service, _arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with what the service last published."""
    return {**asdict(service.board.snapshot), "jobs": service.jobs()}


@operation("scan", "read")
def scan(service: Service, arguments: Mapping[str, Any], progress: Progress) -> Answer:
    """Look at everything (or `under` a directory, or only where directories changed: `quick`) and answer when done."""
    quick, under = bool(arguments.get("quick")), path_sent(arguments.get("under") or "")
    directory: DirectoryKey = os.fsdecode(under) or ROOT_ID
    started, before = time.monotonic(), service.board.snapshot

    def doubt(index: Index) -> None:
        if quick:
            doubt_changed(index)
        else:
            index.request_rescan(Rescan(directory, tree=True, reason="requested"))

    barrier = service.post(doubt)
    while not barrier.wait(REPORT_SECONDS):
        now = service.board.snapshot
        progress({"seen": now.seen - before.seen, "pending": now.pending})
        if service.stopping:
            raise ServiceError("the service was stopped before the scan was done", remedy="run `indexer scan` again")
    after = service.board.snapshot
    return {
        "added": after.added - before.added,
        "updated": after.updated - before.updated,
        "removed": after.removed - before.removed,
        "seconds": round(time.monotonic() - started, 6),
    }


@operation("stop")
def stop(service: Service, _arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Ask the service to end."""
    service.stop()
    return {"stopping": True, "pid": os.getpid()}


def _number(arguments: Mapping[str, Any], key: str, default: float) -> float:
    value = arguments.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise UsageError(f"{key} must be a number of seconds, not {value!r}")
    return float(value)
