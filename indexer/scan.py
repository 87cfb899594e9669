"""A scan is a batch that doubts everything: the same pipe and the same apply that events use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index.apply import Applied
from indexer.index.quick import quick_pass

if TYPE_CHECKING:
    from indexer.index.apply import Index

CHUNK = 50_000
"""Names in one transaction when nobody waits for events."""

Progress = Callable[[int, int], None]
"""(files seen, directories waiting)."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found and changed."""

    added: int
    updated: int
    removed: int
    directories_listed: int
    seen: int


def full_scan(index: Index, clock: Callable[[], float], progress: Progress | None = None) -> ScanResult:
    """List every directory and stat every file once; `clock` gives Unix seconds. Raises sqlite3.Error, OSError."""
    index.request_rescan(Rescan(ROOT_ID, tree=True, reason="verify" if index.complete else "first"))
    return run_backlog(index, clock, progress)


def quick_scan(index: Index, clock: Callable[[], float], progress: Progress | None = None) -> ScanResult:
    """List only the directories whose names changed since they were last listed; a first scan is always a full one."""
    if not index.complete:
        return full_scan(index, clock, progress)
    doubt_changed(index)
    return run_backlog(index, clock, progress)


def doubt_changed(index: Index) -> None:
    """Put every directory whose names changed, by its times, into the index's backlog."""
    for _ in quick_pass(index):
        pass


def run_backlog(index: Index, clock: Callable[[], float], progress: Progress | None = None) -> ScanResult:
    """Apply empty batches until nothing waits."""
    total = Applied()
    index.parallel = True
    while index.busy or index.unsettled:
        total.add(index.apply(Batch(clock()), budget=CHUNK))
        if progress is not None:
            progress(total.seen, index.pending)
    index.parallel = False
    return ScanResult(total.added, total.updated, total.removed, total.directories, total.seen)
