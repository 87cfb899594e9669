"""Kernel queues that are too short, so that overflows are real and cost little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from watchdog.observers import inotify_c

from indexer.syscalls import inotify as kernel

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
"""Of the whole machine; an instance takes over what it says when it is made (inotify(7))."""


@contextmanager
def short_queue(events: int) -> Iterator[None]:
    """Let the inotify queues that are made inside, ours and watchdog's, hold so few events (0: as the system has it).

    The system's figure is changed for the moment in which a queue is made. Needs root.
    """
    if not events:
        yield
        return

    def short(make: Callable[[], int]) -> Callable[[], int]:
        def made() -> int:
            usual = QUEUE.read_text(encoding="ascii")
            QUEUE.write_text(str(events), encoding="ascii")
            try:
                return make()
            finally:
                QUEUE.write_text(usual, encoding="ascii")

        return made

    ours, theirs = kernel.inotify_init, inotify_c.inotify_init
    kernel.inotify_init, inotify_c.inotify_init = short(ours), short(theirs)
    try:
        yield
    finally:
        kernel.inotify_init, inotify_c.inotify_init = ours, theirs
