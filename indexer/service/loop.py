"""What the service's loop runs over: events first, the index's own work in small portions between them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from indexer.index.apply import BUDGET

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from indexer.events import Batch
    from indexer.index.apply import Index
    from indexer.watch.source import Watcher

IDLE = 0.5
"""Seconds until an empty batch when there is nothing to do: how soon something that raises no event is noticed."""
AT_REST = 2.0
"""The same once nothing has happened for a while; on a grid, so that all that is done at rest is done at one time.

A stop and a request wake the loop, they wait for neither."""
NAP = 0.02
"""Seconds until an empty batch when time alone will bring progress (a directory's times prove something later)."""
REST = 1.0
"""Rest for each second of mere verification: half of one core, and the disk is free for everybody else."""
VERIFY_BUDGET = 2_000
"""Names listed in one turn of mere verification (about 10 ms), so that events hardly wait for it."""
DRAIN_SECONDS = 5.0


def batches(
    watcher: Watcher,
    index: Index,
    stop: threading.Event,
    *,
    hurried: Callable[[], bool] = lambda: False,
    expecting: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Batch]:
    """Yield what is to be applied next; an empty batch means: go on with your own work.

    Ends once `stop` is set and everything that the kernel held by then is in the index; who sets it wakes the watcher.
    While somebody is waiting (`hurried`), verification takes no rest. While an answer is awaited that may not come
    (`expecting`), the loop does not come to rest.
    """
    wait, idle = 0.0, IDLE
    while not stop.is_set():
        batch = watcher.take(wait)
        taken = monotonic()
        yield batch
        if batch.hints or batch.rescans or index.busy:
            idle = IDLE
        if index.busy:
            wait = 0.0 if hurried() or not merely_verifying(index) else min(monotonic() - taken, IDLE) * REST
        elif index.unproven or index.unsettled:
            wait = NAP
        elif expecting():
            wait = IDLE
        elif idle < AT_REST:
            wait, idle = idle, idle * 2
        else:
            wait = AT_REST - monotonic() % AT_REST
    yield from _drain(watcher, index, monotonic)


def _drain(watcher: Watcher, index: Index, monotonic: Callable[[], float]) -> Iterator[Batch]:
    """Yield what the kernel holds now, and then empty batches until what followed from it has been listed too."""
    last, seen = watcher.barrier(), False
    deadline = monotonic() + DRAIN_SECONDS
    while (left := deadline - monotonic()) > 0:
        batch = watcher.take(0.0 if seen else left)
        yield batch
        seen = seen or last in batch.barriers
        if seen and (not index.complete or not index.busy or merely_verifying(index)):
            return


def merely_verifying(index: Index) -> bool:
    """All that is to be listed is a check of what the index believes already."""
    return bool(index.backlog) and not index.backlog.urgent


def budget(index: Index, *, hurried: bool) -> int:
    """Return how many names may be listed in the next transaction."""
    return VERIFY_BUDGET if merely_verifying(index) and not hurried else BUDGET
