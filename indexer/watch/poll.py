"""Watches nothing: for network filesystems, which do not report what other hosts do, and where no kernel queue is left.

Every directory counts as one that cannot be watched, so the service looks at all of them from time to time, and before
it says that everything has settled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, KeysView

from indexer.events import Barrier, Batch
from indexer.watch.source import WatchCounters

REASON = "nothing is reported: directories are looked at every 30 s, files every 15 minutes, and all before `settle`"


class PollWatcher:
    """Remembers which directories there are. `take`, `register`, `forget`: one thread."""

    name = "poll"
    wants_descriptor = True

    def __init__(self, *, clock: Callable[[], float], reason: str = "") -> None:
        """`clock` gives Unix seconds."""
        self.reason = f"{reason}; {REASON}" if reason else REASON
        self.counters = WatchCounters()
        self._clock = clock
        self._directories: dict[int, None] = {}
        self._asked = threading.Condition()
        self._barriers: list[Barrier] = []
        self._woken = False

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def alive(self) -> bool:
        """It cannot die."""
        return True

    @property
    def unwatched(self) -> KeysView[int]:
        """Ids of all directories."""
        return self._directories.keys()

    def watches(self, directory_id: int) -> bool:
        """Say whether this directory has been registered."""
        return directory_id in self._directories

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:  # noqa: ARG002 - the protocol's
        """Remember it."""
        self._directories[directory_id] = None

    def register_below(self, directory_id: int, parent_fd: int, name: bytes) -> None:  # noqa: ARG002 - the protocol's
        """Remember it."""
        self._directories[directory_id] = None

    def forget(self, directory_id: int) -> None:
        """It has left the store."""
        self._directories.pop(directory_id, None)

    def foreign(self, key: bytes) -> None:
        """Nothing reports."""

    def take(self, timeout: float | None) -> Batch:
        """Return the barriers that asked; wait up to `timeout` seconds for one."""
        with self._asked:
            self._asked.wait_for(lambda: self._barriers or self._woken, timeout)
            self._woken = False
            barriers, self._barriers = self._barriers, []
        return Batch(self._clock(), barriers=barriers)

    def barrier(self) -> Barrier:
        """Return a barrier for the next batch: with it the service lists everything."""
        barrier = Barrier()
        with self._asked:
            self._barriers.append(barrier)
            self._asked.notify_all()
        return barrier

    def wake(self) -> None:
        """Let `take` return."""
        with self._asked:
            self._woken = True
            self._asked.notify_all()
