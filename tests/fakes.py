"""Stand-ins behind the interfaces: a watcher that plays a script, a disk that fills up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from indexer.events import Barrier, Batch, DirectoryKey
from indexer.watch.source import WatchCounters


class ScriptedWatcher:
    """Plays batches that a test feeds it; needs no kernel. Barriers ride in the next batch."""

    name = "scripted"
    wants_descriptor = False
    reason = "a test plays the events"

    def __init__(self, script: Iterable[Batch] = (), *, clock: float = 1_700_000_000.0) -> None:
        self.counters = WatchCounters()
        self.now = clock
        self.running = False
        self.deaf = False
        """Barriers come without any event being counted, and no batch is played."""
        self.mute = False
        """Barriers do not come."""
        self.taken = 0
        self._ready = threading.Condition()
        self._script = deque(script)
        self._barriers: list[Barrier] = []
        self._woken = False

    def start(self) -> None:
        """Begin to play."""
        self.running = True

    def stop(self) -> None:
        """End."""
        self.running = False

    def die(self) -> None:
        """As if the reading thread had died."""
        self.running = False

    def alive(self) -> bool:
        """As told."""
        return self.running

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """Nothing to note."""

    def forget(self, directory_id: int) -> None:
        """Nothing to forget."""

    def foreign(self, key: bytes) -> None:
        """Nothing to drop."""

    def play(self, batch: Batch) -> None:
        """Let this be taken next."""
        with self._ready:
            self._script.append(batch)
            self._ready.notify_all()

    def hint(self, directory: DirectoryKey, name: bytes, kinds: int) -> None:
        """Play a batch of one hint."""
        batch = Batch(self.now, events=1)
        batch.hint(directory, name, kinds)
        self.play(batch)

    def take(self, timeout: float | None) -> Batch:
        """Return the next batch of the script with the barriers that asked, or an empty one after `timeout`."""
        with self._ready:
            if not (self._script or self._barriers or self._woken) or self.mute:
                self._ready.wait(timeout)
            self._woken = False
            self.taken += 1
            batch = self._script.popleft() if self._script and not self.deaf else Batch(self.now)
            if not self.mute:
                batch.barriers += self._barriers
                self._barriers = []
            if not self.deaf:
                self.counters.events += batch.events + len(batch.barriers)
        return batch

    def barrier(self) -> Barrier:
        """Return a barrier for the next batch."""
        barrier = Barrier()
        with self._ready:
            self._barriers.append(barrier)
            self._ready.notify_all()
        return barrier

    def wake(self) -> None:
        """Let `take` return."""
        with self._ready:
            self._woken = True
            self._ready.notify_all()
