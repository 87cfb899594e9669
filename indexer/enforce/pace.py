"""`[guards] max_rate`: removal that leaves a busy storage room to breathe."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.1
"""Seconds between two looks at whether the run is to end."""


class Pace:
    """Holds a run to so many files a second on the average; a batch is about one second's worth."""

    def __init__(
        self,
        rate: int | None,
        ends: Callable[[], bool],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`rate` is files per second, None: as fast as it goes. `ends` cuts a wait short."""
        self._rate = rate
        self._ends = ends
        self._monotonic = monotonic
        self._sleep = sleep
        self._due = monotonic()

    def batch(self, size: int) -> int:
        """Return how many files the next batch may have where `size` would do."""
        return size if self._rate is None else max(1, min(size, self._rate))

    def spend(self, files: int) -> None:
        """Wait until so many files may have been touched. What was slow by itself is not made up for later."""
        if self._rate is None:
            return
        self._due = max(self._due, self._monotonic() - 1.0) + files / self._rate
        while (left := self._due - self._monotonic()) > 0 and not self._ends():
            self._sleep(min(left, STEP))
