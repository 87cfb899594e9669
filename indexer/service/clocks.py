"""Did the machine sleep, or did somebody set its clock? Told by three clocks that go differently."""

from __future__ import annotations

import time
from collections.abc import Callable

from indexer.service.supervise import GapError

STEP = 60.0
"""Seconds by which the wall clock may be corrected at once: time synchronisation does that after a start."""
SLEPT = 5.0
"""Seconds of sleep that count."""
BOOT = getattr(time, "CLOCK_BOOTTIME", None)
"""Runs on while the machine sleeps (clock_gettime(2), Linux); nobody can set it."""


def boot_clock() -> float:
    """Return seconds since the machine started, its sleep included where the platform knows that."""
    return time.clock_gettime(BOOT) if BOOT is not None else time.monotonic()


class ClockWatch:
    """Compares the clocks from turn to turn, so that slow corrections do not add up."""

    def __init__(self, wall: Callable[[], float], boot: Callable[[], float] | None = None) -> None:
        """`wall` gives Unix seconds; `boot` is `boot_clock`, unless a test has another."""
        self._wall = wall
        self._boot = boot or boot_clock
        self._before: tuple[float, float] | None = None

    def look(self, monotonic: float) -> None:
        """Compare at this monotonic second. Raises GapError (suspended, clock_stepped)."""
        boot = self._boot()
        asleep, offset = boot - monotonic, self._wall() - boot
        before, self._before = self._before, (asleep, offset)
        if before is None:
            return
        if asleep - before[0] > SLEPT:
            raise GapError("suspended", f"the machine slept for {asleep - before[0]:.0f} s")
        if abs(offset - before[1]) > STEP:
            raise GapError("clock_stepped", f"the wall clock was set by {offset - before[1]:+.0f} s")
