"""Errors that may pass: tried again after a while, a bounded number of times and for a bounded time."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

TRIES: Final = {errno.EIO: 1, errno.ESTALE: 3, errno.EBUSY: 3, errno.EAGAIN: 3, errno.EINTR: 3}
"""How often a call that failed so is tried again. A disk that answers EIO twice means it."""

DELAYS: Final = (0.05, 0.25, 1.0)
"""Seconds before the first, second and third new try."""

BUDGET: Final = 30.0
"""Seconds that one run waits in all: where everything fails, waiting at every file would take days."""


class Patience:
    """How long one run still waits for errors to pass."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep, *, budget: float = BUDGET) -> None:
        self._sleep = sleep
        self._left = budget

    def worth(self, code: int | None, attempt: int) -> bool:
        """True when a call that failed with `code` for the `attempt`-th time (from 0) should be tried again."""
        return attempt < TRIES.get(code or 0, 0) and DELAYS[attempt] <= self._left

    def wait(self, attempt: int) -> None:
        """Wait before the new try."""
        self._left -= DELAYS[attempt]
        self._sleep(DELAYS[attempt])

    def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, doing it again while it raises an OSError that may pass."""
        attempt = 0
        while True:
            try:
                return work()
            except OSError as error:
                if not self.worth(error.errno, attempt):
                    raise
            self.wait(attempt)
            attempt += 1
