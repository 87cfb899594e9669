"""Idle I/O priority and little CPU for the work that nobody waits for."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

NICE = 10
"""A tenth of a core beside one busy process of ordinary priority (sched(7)); all of it where nobody else wants it.

Not 19: a cleanup holds the run lock, and on a disk that fills up it has to get done.
"""


class IdlePriority:
    """Switches the calling thread between idle and ordinary priority, where the platform knows threads (Linux).

    A thread without privilege may lower its CPU priority and not raise it again. So a thread that comes back to work
    that is waited for, the writer's, gives up CPU only where it is sure to get it back; `batches` keeps the CPU share
    of verification down anyhow. A thread of removal gives it up for good.
    """

    def __init__(self, *, for_good: bool = False) -> None:
        """`for_good`: this thread will never want its priority back."""
        self._idle = False
        self._usable = sys.platform == "linux"
        self._for_good = for_good
        self._base = 0

    def set(self, *, idle: bool) -> None:
        """Make the calling thread's reads, writes and turns wait for everybody else's, or not.

        ioprio_set(2) and setpriority(2) take a thread's id on Linux.
        """
        if idle == self._idle or not self._usable:
            return
        import psutil

        try:
            thread = _this_thread()
            thread.ionice(psutil.IOPRIO_CLASS_IDLE if idle else psutil.IOPRIO_CLASS_NONE)
            if self._for_good or can_return():
                self._base = int(thread.nice()) if idle else self._base
                thread.nice(max(NICE, self._base) if idle else self._base)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            self._usable = False  # a container may forbid it: then everything runs at ordinary priority
            return
        self._idle = idle


def _this_thread() -> Any:
    import psutil

    return psutil.Process(threading.get_native_id())


@functools.cache
def can_return() -> bool:
    """Say whether a thread of this process that has lowered its CPU priority may raise it again; a thread tries it."""
    import psutil

    found: list[bool] = []

    def attempt() -> None:
        try:
            thread = _this_thread()
            before = thread.nice()
            thread.nice(min(before + 1, 19))
            thread.nice(before)
            found.append(True)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            found.append(False)

    trial = threading.Thread(target=attempt, name="indexer-nice")
    trial.start()
    trial.join()
    return found == [True]
