"""Child directories that age as one (`unit = "child"`): the clock of each, kept from what comes and goes in it.

file came, went, aged → per (class, directory) → at the end of the transaction, per child → one row a child

What makes a child younger is written at once, one row a batch. What may have made it older (its youngest file went)
only marks it; the marked ones are counted anew a few at a time, where nothing else is to be done, and by whoever asks.
The triggers are temporary: they are the writer's, and there only where the policy has such a class.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.index.directories import DetachedError
from indexer.index.unit_sql import LEAST, count_query, make, triggers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.index.classes import Aging, Policy
    from indexer.index.directories import Directories
    from indexer.index.turn import Turn
    from indexer.rules import Rule

BUDGET = 20_000
"""Files read in one transaction to count children anew: about 10 ms."""


_DIRTY = (
    f"INSERT INTO unit VALUES (?, ?, {LEAST}, {LEAST}, 1) ON CONFLICT (class_id, directory_id) DO UPDATE SET"
    " clock = excluded.clock, dirty = 1"
)
_CAME = (
    "INSERT INTO unit VALUES (?, ?, ?, ?, 0) ON CONFLICT (class_id, directory_id) DO UPDATE SET"
    " clock = max(clock, excluded.clock), arrived = min(arrived, excluded.arrived)"
    " WHERE excluded.clock > clock OR excluded.arrived < arrived"
)


@dataclass(slots=True)
class _Noted:
    """What happened in one directory (or child) during a transaction, in clocks."""

    came: int | None = None
    went: int | None = None
    arrived: int = -LEAST
    doubted: bool = False
    """Its youngest may have come and gone again."""

    def note_came(self, clock: int, arrived: int) -> None:
        if self.came is None or clock > self.came:
            self.came = clock
        self.arrived = min(self.arrived, arrived)

    def note_went(self, clock: int) -> None:
        if self.came is not None and clock >= self.came:
            self.doubted = True
        if self.went is None or clock > self.went:
            self.went = clock

    def add(self, other: _Noted) -> None:
        """Take in what happened in another directory of the same child."""
        self.doubted = self.doubted or other.doubted
        if other.came is not None:
            self.note_came(other.came, other.arrived)
        if other.went is not None and (self.went is None or other.went > self.went):
            self.went = other.went


class Units:
    """The table `unit` through the writer's connection."""

    def __init__(self, connection: Any, directories: Directories, turn: Turn) -> None:
        self._connection = connection
        self._directories = directories
        self._turn = turn
        self._rules: dict[int, Rule] = {}
        self._noted: dict[tuple[int, int], _Noted] = {}
        self._places: set[int] = set()
        self._moved: set[int] = set()
        self._fresh: set[tuple[int, int]] = set()
        self.pending = False
        """Some children wait to be counted anew."""
        connection.create_function("unit_came", 4, self._came)
        connection.create_function("unit_went", 3, self._went)
        connection.create_function("unit_aged", 5, self._aged)
        connection.create_function("unit_left", 1, self._places.add)

    def adopt(self, policy: Policy, agings: Sequence[Aging]) -> None:
        """This policy is in force; in the caller's transaction. Rows of classes that are not whole any more go."""
        self._rules = {
            aging.class_id: rule
            for rule, aging in zip(policy.rules, agings, strict=True)
            if rule.unit == "child" and rule.own_directories
        }
        connection = self._connection
        ids = ", ".join(map(str, sorted(self._rules))) or "NULL"
        if connection.execute("SELECT 1 FROM unit LIMIT 1").fetchone() is not None:
            connection.execute(f"DELETE FROM unit WHERE class_id NOT IN ({ids}) OR {int(not self._rules)}")
        self._note_own()
        self._listen()
        self.pending = self._any_dirty()

    def _note_own(self) -> None:
        """Say which directories are the classes' own, for readers: what lies directly in them is in no child."""
        own = [
            (number, path.decode("utf-8", "surrogateescape"))
            for number, rule in sorted(self._rules.items())
            for path in dict.fromkeys(rule.own_directories)
            if rule.child_of(path) is None
        ]
        was = self._connection.execute("SELECT value FROM meta WHERE key = 'own'").fetchone()
        if (was or ("[]",))[0] != (now := json.dumps(own)):
            self._connection.execute(
                "INSERT INTO meta VALUES ('own', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (now,)
            )

    def _listen(self) -> None:
        """Make the triggers, but not for a first scan: `make` counts what that has brought."""
        for name in ("came", "went", "aged", "left", "gone"):
            self._connection.execute(f"DROP TRIGGER IF EXISTS temp.unit_{name}")
        if self._rules and not self._turn.bulk:
            ids = ", ".join(map(str, sorted(self._rules)))
            lazy = [number for number, rule in self._rules.items() if "atime" in rule.clocks]
            for trigger in triggers(ids, ", ".join(map(str, lazy)) or "NULL"):
                self._connection.execute(trigger)

    # What the triggers tell

    def _came(self, class_id: int, directory_id: int, clock: int | None, arrived: int) -> None:
        if clock is not None and class_id in self._rules:
            self._note(class_id, directory_id).note_came(clock, arrived)

    def _went(self, class_id: int, directory_id: int, clock: int | None) -> None:
        if clock is not None and class_id in self._rules:
            self._note(class_id, directory_id).note_went(clock)

    def _aged(self, class_id: int, directory_id: int, old: int | None, clock: int | None, arrived: int) -> None:
        if old is not None and (clock is None or clock < old):
            self._went(class_id, directory_id, old)
        self._came(class_id, directory_id, clock, arrived)

    def _note(self, class_id: int, directory_id: int) -> _Noted:
        key = class_id, directory_id
        noted = self._noted.get(key)
        if noted is None:
            noted = self._noted[key] = _Noted()
        return noted

    def moved(self, directory_id: int) -> None:
        """A directory is at another place, or under another policy, than before."""
        if self._rules:
            self._moved.add(directory_id)

    # One transaction

    def begin(self) -> None:
        """Start a transaction."""
        for collected in (self._noted, self._places, self._moved, self._fresh):
            collected.clear()

    def rollback(self) -> None:
        """It failed; so did what was noted in it."""
        self.begin()
        self.pending = self._any_dirty()

    def forget_all(self) -> None:
        """The policy changed: each directory is told of again (`moved`)."""
        self._connection.execute("DELETE FROM unit")

    def finish(self) -> None:
        """Write what was noted, one row a child."""
        if not self._rules or self._turn.bulk:
            self.begin()
            return
        if not (self._noted or self._places or self._moved):
            return
        connection = self._connection
        found: dict[tuple[int, int], _Noted] = {}
        for directory_id in self._moved:
            connection.execute("DELETE FROM unit WHERE directory_id = ?", (directory_id,))
        for directory_id in self._moved | self._places:
            for class_id in self._rules:
                child = self._child(class_id, directory_id)
                if child is not None:
                    found.setdefault((class_id, child), _Noted()).doubted = True
        for (class_id, directory_id), noted in self._noted.items():
            child = self._child(class_id, directory_id)
            if child is not None:
                found.setdefault((class_id, child), _Noted()).add(noted)
        for (class_id, child), noted in found.items():
            self._write(class_id, child, noted)
        self._fresh = set(found)

    def _write(self, class_id: int, child: int, noted: _Noted) -> None:
        connection, key = self._connection, (class_id, child)
        row = connection.execute("SELECT clock FROM unit WHERE class_id = ? AND directory_id = ?", key).fetchone()
        lost = noted.went is not None and row is not None and noted.went >= row[0]
        if noted.doubted or (lost and (noted.came is None or noted.came < (noted.went or 0))):
            connection.execute(_DIRTY, key)
            self.pending = True
        if noted.came is not None and not noted.doubted:
            connection.execute(_CAME, (*key, noted.came, noted.arrived))

    def _child(self, class_id: int, directory_id: int) -> int | None:
        """Return the id of the child that a directory is or lies in; None: in none, or in limbo."""
        try:
            child = self._rules[class_id].child_of(self._directories.path(directory_id))
        except DetachedError:
            return None  # whoever claims it, or one above it, tells of it again
        return None if child is None else self._directories.at_path(child)

    def step(self, *, quiet: bool) -> None:
        """Count some of the marked children anew; while events come (not `quiet`) none that they are about."""
        if not self.pending or self._turn.bulk:
            return
        left = BUDGET
        rows = self._connection.execute("SELECT class_id, directory_id FROM unit WHERE dirty").fetchall()
        waiting = [row for row in rows if quiet or row not in self._fresh]
        for number, (class_id, child) in enumerate(waiting, start=1):
            left -= 1 + self._count(class_id, child)
            if left <= 0:
                self.pending = number < len(waiting) or len(waiting) < len(rows)
                return
        self.pending = len(waiting) < len(rows)

    def _count(self, class_id: int, child: int) -> int:
        """Write the true clock of one child; return how many files were read."""
        connection, key = self._connection, (class_id, child)
        clock, arrived, files = connection.execute(count_query(self._rules[class_id]), (child, class_id)).fetchone()
        if clock is None:
            connection.execute("DELETE FROM unit WHERE class_id = ? AND directory_id = ?", key)
        else:
            connection.execute(
                "UPDATE unit SET clock = ?, arrived = ?, dirty = 0 WHERE class_id = ? AND directory_id = ?",
                (clock, arrived, *key),
            )
        return int(files)

    def make(self) -> None:
        """Fill the table from the rows, at the end of a first scan, and listen from here on."""
        make(self._connection, self._rules, self._path)
        self._listen()

    def _path(self, directory_id: int) -> bytes | None:
        try:
            return self._directories.path(directory_id)
        except DetachedError:
            return None

    def _any_dirty(self) -> bool:
        return self._connection.execute("SELECT 1 FROM unit WHERE dirty LIMIT 1").fetchone() is not None
