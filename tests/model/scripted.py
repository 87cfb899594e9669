"""The same histories with no kernel between: what happened is played to the index late, in pieces, twice, or lost.

A piece is what a kernel's queue gives: some of the events from its front, merged, in no order within the piece. What
real kernels do seldom happens here all the time.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index.apply import Index
from indexer.rules import Quota, Rule
from tests.index.rig import Rig
from tests.model.operations import Operations
from tests.model.outcome import OPERATIONS, Outcome

try:
    from pysqlite3 import dbapi2 as driver
except ImportError:
    import sqlite3 as driver

RULES = (
    Rule("uploads", ("uploads/**",), ttl=1, quota=Quota(high=1, per="child")),
    Rule("frames", ("**/frames/**",), ttl=1, clocks=("atime", "mtime")),
    Rule("jobs", ("job/**", "a/**")),
)
TURNS = 500
TREATMENTS = {
    "deliver all": 4,
    "deliver some": 8,
    "deliver one": 4,
    "overflow": 1,
    "fold": 1,
    "crash": 1,
    "disturb": 2,
    "turn": 4,
    "twice": 2,
}
"""What happens to events and writer between two operations, and how often."""


class Scripted:
    """An index over a tree that is changed by `operations`; `deliver` plays what is waiting."""

    def __init__(self, folder: Path, chance: Random) -> None:
        self.chance = chance
        (folder / "outside").mkdir()
        self.rig = Rig(folder, {}, RULES)
        self.undelivered: list[tuple[bytes, bytes]] = []
        self.operations = Operations(self.rig.root, folder / "outside", chance, self._touched)

    def _touched(self, key: bytes, name: bytes) -> None:
        self.undelivered.append((key, name))

    def close(self) -> None:
        """Give everything back."""
        self.operations.close()
        self.rig.close()

    def deliver(self, share: float = 1.0, *, budget: int = 5_000) -> None:
        """Play the first `share` of what waits, as one batch."""
        cut = len(self.undelivered) if share >= 1 else int(len(self.undelivered) * share)
        events, self.undelivered = self.undelivered[:cut], self.undelivered[cut:]
        self.chance.shuffle(events)
        self._apply(self.rig.batch(*events, drained=not self.undelivered), budget)

    def overflow(self, lost: float = 0.7) -> None:
        """Lose some of what waits; the kernel says that it did, after the rest."""
        kept = [event for event in self.undelivered if self.chance.random() >= lost]
        self.undelivered = []
        batch = self.rig.batch(*kept)
        batch.rescans.append(Rescan(ROOT_ID, tree=True, reason="overflow"))
        self._apply(batch, self.chance.choice((0, 3, 5_000)))

    def fold(self) -> None:
        """A writer stood still for long: names have become a listing of their directory."""
        keys = {key for key, _ in self.undelivered}
        self.undelivered = []
        rescans = [Rescan(key, tree=False, reason="folded") for key in sorted(keys)]
        self._apply(Batch(self.rig.now, rescans=rescans), self.chance.choice((0, 3, 5_000)))

    def crash(self) -> None:
        """What waits is lost; the next life does a quick pass, then verifies."""
        self.undelivered = []
        self.rig.reopen()
        if self.rig.index.complete:
            self.rig.index.doubt_everything()
            self.rig.quick_only()
            self.rig.index.request_rescan(Rescan(ROOT_ID, tree=True, reason="verify"), verify=True)
        else:
            self.rig.index.request_rescan(Rescan(ROOT_ID, tree=True, reason="first"))

    def disturbed(self, steps: int) -> None:
        """The next batch is interrupted in SQLite after so many steps, and played again."""
        cut = len(self.undelivered)
        events, self.undelivered = self.undelivered[:cut], []
        batch = self.rig.batch(*events)
        fault = _Fault(self.rig.index, steps)
        try:
            self._apply(batch, 50)
        except driver.DatabaseError:
            self._apply(batch, 50)
        finally:
            fault.end()

    def turn(self, budget: int) -> None:
        """Let the index do some of its own work."""
        self._apply(Batch(self.rig.now, drained=not self.undelivered), budget)

    def _apply(self, batch: Batch, budget: int) -> None:
        self.rig.index.apply(batch, budget)

    def settle(self) -> None:
        """Play all that waits and all that follows from it. Raises AssertionError when that has no end."""
        self.deliver()
        for _ in range(TURNS):
            if self.rig.index.settled:
                self.operations.settled()
                return
            self.turn(self.chance.choice((1, 10, 5_000)))
        raise AssertionError(f"not settled after {TURNS} batches: {self.rig.index.pending} pending")

    def wrong(self) -> dict[str, Any]:
        """Return what is wrong with the index once it has settled."""
        self.settle()
        wrong: dict[str, Any] = {**self.rig.wrong()}
        wrong |= {f"class of {path!r} (index, policy)": pair for path, pair in self.rig.misclassified().items()}
        return wrong

    def ill_treat(self) -> str:
        """Do one of `TREATMENTS`, at random; return which."""
        what = self.chance.choices(list(TREATMENTS), list(TREATMENTS.values()))[0]
        self.treat(what)
        return what

    def treat(self, what: str) -> None:
        """Do one of `TREATMENTS`."""
        chance = self.chance
        match what:
            case "deliver all":
                self.deliver()
            case "deliver some":
                self.deliver(chance.random())
            case "deliver one":
                self.deliver(1 / (len(self.undelivered) + 1), budget=0)
            case "overflow":
                self.overflow()
            case "fold":
                self.fold()
            case "crash":
                self.crash()
            case "disturb":
                self.disturbed(chance.randint(1, 60))
            case "turn":
                self.turn(chance.choice((1, 3, 100)))
            case "twice":
                self._twice()

    def _twice(self) -> None:
        waiting = list(self.undelivered)
        self.deliver(self.chance.random())
        self.undelivered = waiting


class _Fault:
    """Interrupts SQLite once, at a step."""

    def __init__(self, index: Index, steps: int) -> None:
        self._left = steps
        self._index = index
        index.connection.set_progress_handler(self._step, 20)

    def _step(self) -> int:
        self._left -= 1
        return int(self._left == 0)

    def end(self) -> None:
        """Disturb no more."""
        self._index.connection.set_progress_handler(None, 0)


def play(place: Path, backend: str, seed: int, operations: int = OPERATIONS) -> Outcome:
    """Play the history of `seed` in a new directory below `place`; return it, and what is wrong with the index then."""
    chance = Random(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"{backend}-{seed}-", dir=place))
    model = Scripted(folder, chance)
    outcome = Outcome(backend, seed, model.operations.log, operations=operations)
    try:
        _play(model, chance, outcome)
    except AssertionError as error:
        outcome.wrong["stuck"] = str(error)
    finally:
        model.close()
    if not outcome.wrong:
        shutil.rmtree(folder)
    return outcome


def _play(model: Scripted, chance: Random, outcome: Outcome) -> None:
    for _ in range(outcome.operations):
        model.operations.step()
        while chance.random() < 0.4:
            outcome.log.append(f"-- {model.ill_treat()}")
        if chance.random() < 0.03:
            outcome.log.append("-- check")
            outcome.wrong |= model.wrong()
        if outcome.wrong:
            return
    outcome.wrong |= model.wrong()
