"""Where destroyed files end: the last descriptor of each is closed in another thread, and only then is the file freed.

An unlink takes a name away. What costs is what follows once nobody holds the file any more: truncate it, free its
blocks and its inode, and on a filesystem mounted with `discard` wait for the device. By then nothing is left to be
decided about it, so the run need not stand by; it looks at the next files meanwhile (docs/decisions/0070).
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

THREADS = 2
"""A device that is asked to discard blocks serves several requests in the time of one."""
PIECE = 64
"""Descriptors that one thread closes at a time."""
PIECES = 4
"""Pieces that may be under way: with 256 of the 1,024 descriptors that a process usually may have."""
HANDFUL = 16
"""Fewer are closed where they are: handing them over would cost more than it gains."""


class Reaper:
    """Closes descriptors of files that have no name any more. Use it as a context manager: its end waits for the rest.

    One thread at a time may call it. A process that dies in between leaves what it would have left without a reaper:
    the kernel closes what was open.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Sequence[int] | None] = SimpleQueue()
        self._room = threading.Semaphore(PIECES)
        self._threads: list[threading.Thread] = []
        self._busy = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._busy = False

    def take(self, fds: Sequence[int]) -> None:
        """Close these, which are the reaper's from here on.

        No error of a close is told: they were read from at most, so it says nothing about the removal.
        """
        if len(fds) < HANDFUL or not (self._threads or self._start()):
            _close(fds)
            return
        self._busy = True
        for start in range(0, len(fds), PIECE):
            self._room.acquire()
            self._queue.put(fds[start : start + PIECE])

    def drain(self) -> bool:
        """Return once all of it is closed, its blocks given back; False when there was nothing to wait for."""
        busy, self._busy = self._busy, False
        if busy:
            for _ in range(PIECES):
                self._room.acquire()
            self._room.release(PIECES)
        return busy

    def _start(self) -> bool:
        """Start the threads; False where the process may have no further one."""
        try:
            for _ in range(THREADS):
                thread = threading.Thread(target=self._work, name="reaper", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError:
            return bool(self._threads)
        return True

    def _work(self) -> None:
        while (fds := self._queue.get()) is not None:
            try:
                _close(fds)
            finally:
                self._room.release()


def _close(fds: Sequence[int]) -> None:
    """Close them by one system call for each unbroken row (close_range(2)), outside of the interpreter's lock."""
    for first, last in _rows(sorted(fds)):
        os.closerange(first, last + 1)


def _rows(fds: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each row of consecutive numbers, so that nobody else's descriptor lies in it."""
    first = last = -1
    for fd in fds:
        if first >= 0 and fd != last + 1:
            yield first, last
            first = -1
        first, last = fd if first < 0 else first, fd
    if first >= 0:
        yield first, last
