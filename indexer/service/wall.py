"""Did the wall clock step since the last run? Told by the boot clock, which nobody sets."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from indexer.policy.guards import Moment, Refusal, clock_breach

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.rules import Guards

KEY = "clock"
"""In the ledger's meta: wall clock, boot id and boot clock of the last run that removed something or could have."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def moment() -> Moment:
    """Return this moment by the system's own clocks; an injected clock (a forecast, a test) is no wall clock."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip()
        return Moment(int(time.time()), boot, int(time.clock_gettime(time.CLOCK_BOOTTIME)))
    except (OSError, AttributeError):  # another platform, or no /proc: only a clock that went back is seen
        return Moment(int(time.time()), "", 0)


def stepped(ledger: Ledger, guards: Guards, now: Moment) -> Refusal | None:
    """Return the refusal of a run after the wall clock has stepped by more than `max_clock_step`, or None."""
    noted = ledger.noted(KEY)
    return None if noted is None else clock_breach(Moment(*json.loads(noted)), now, guards)


def note(ledger: Ledger, now: Moment) -> None:
    """Remember this moment for the next run."""
    ledger.note(KEY, json.dumps(now))
