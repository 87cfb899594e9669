"""Classes again, where a directory moved or the policy changed: in batches, beside everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.index.directories import DetachedError
from indexer.index.rows import (
    CLASS,
    CLOCK,
    CTIME_AFTER,
    FIRST_SEEN,
    MTIME,
    NAME,
    NS,
    SELECT,
    USED_AT,
    identity_of,
    name_of,
)

if TYPE_CHECKING:
    from indexer.index.classes import Aging, DirectoryRules, Policy
    from indexer.index.directories import Directories
    from indexer.index.turn import Turn
    from indexer.index.units import Units

_UPDATE = "UPDATE file SET class_id = ?, clock = ? WHERE directory_id = ? AND name = ?"
_ATIME = USED_AT - 1


class Reclassifier:
    """Recomputes class and clock of files whose path or policy has changed."""

    def __init__(
        self,
        connection: Any,
        directories: Directories,
        turn: Turn,
        policy: Policy,
        agings: list[Aging],
        units: Units,
    ) -> None:
        self._connection = connection
        self._turn = turn
        self._directories = directories
        self._policy = policy
        self._agings = agings
        self._units = units
        self._trees: list[int] = []
        self._cursor: int | None = None
        self._fingerprint = ""
        self._skipped: set[int] = set()
        self._noted = False
        """The index says that not all files are classified by the policy."""
        self._before: tuple[list[int], int | None, bool] = ([], None, False)

    @property
    def pending(self) -> bool:
        """There are directories whose files have yet to be looked at."""
        return self._cursor is not None or bool(self._trees)

    def begin(self) -> None:
        """Start a transaction."""
        self._before = list(self._trees), self._cursor, self._noted

    def rollback(self) -> None:
        """It failed."""
        self._trees, self._cursor, self._noted = self._before

    def adopt(self, policy: Policy) -> None:
        """Another policy is in force: whatever was to be looked at is looked at by that one."""
        self._policy = policy

    def start_all(self, fingerprint: str) -> None:
        """The policy changed: go through every directory, and record the fingerprint when that is done."""
        self._cursor, self._fingerprint = 0, fingerprint
        self._units.forget_all()

    def start_tree(self, directory_id: int) -> None:
        """A directory moved: go through it and what is below it."""
        self._trees.append(directory_id)

    def step(self, budget: int) -> None:
        """Look at up to about `budget` files, in the caller's transaction."""
        left = budget
        while self._trees and left > 0:
            directory_id = self._trees.pop()
            left -= 1 + self._directory(directory_id, moved=True)
            self._trees.extend(
                row[0]
                for row in self._connection.execute("SELECT id FROM directory WHERE parent_id = ?", (directory_id,))
            )
        self._note()
        while self._cursor is not None and left > 0:
            row = self._connection.execute(
                "SELECT id FROM directory WHERE id > ? ORDER BY id LIMIT 1", (self._cursor,)
            ).fetchone()
            if row is None:
                self._cursor = None
                self._write(self._fingerprint)
                return
            self._cursor = row[0]
            left -= 1 + self._directory(row[0], moved=False)

    def _note(self) -> None:
        """A crash would forget what moved and has yet to be looked at: the next life then looks at all files."""
        if self._cursor is None and bool(self._trees) != self._noted:
            self._noted = bool(self._trees)
            self._write("" if self._noted else self._policy.fingerprint)

    def _write(self, fingerprint: str) -> None:
        """Say by which policy all files are classified."""
        self._connection.execute(
            "INSERT INTO meta VALUES ('policy', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (fingerprint,),
        )

    def _directory(self, directory_id: int, *, moved: bool) -> int:
        """Recompute one directory's files; return how many rows were read."""
        try:
            rules = self._policy.classifier.at(self._directories.path(directory_id))
        except DetachedError:  # whoever claims it, or one above it, starts here again
            self._skipped.add(directory_id)
            return 0
        self._units.moved(directory_id)
        if moved and self._has_all_in_class(directory_id, rules):
            return 0
        self._skipped.discard(directory_id)
        changes = []
        rows = self._connection.execute(f"{SELECT} WHERE directory_id = ?", (directory_id,)).fetchall()
        for row in rows:
            rule, aged = (rules.index, rules.aged) if rules.constant else rules.of(name_of(row[NAME]))
            class_id = clock = None
            if rule is not None:
                aging = self._agings[rule]
                class_id = aging.class_id
                if aged:
                    born = identity_of(row).birth_ns
                    clock = aging.clock_of(
                        row[MTIME],
                        max(row[_ATIME], row[USED_AT] or 0),
                        row[MTIME] + row[CTIME_AFTER],
                        born // NS if born else None,
                        row[FIRST_SEEN],
                        name_of(row[NAME]),
                    )
            if class_id != row[CLASS] or clock != row[CLOCK]:
                changes.append((class_id, clock, directory_id, row[NAME]))
        self._connection.executemany(_UPDATE, changes)
        return len(rows)

    def _has_all_in_class(self, directory_id: int, rules: DirectoryRules) -> bool:
        """Say, by the counters, that a directory which moved has nothing to recompute: a path decides the class only.

        Not so where some of the class is excluded (such files do not age, and the counters do not tell), where the
        policy has changed as well, and as long as nothing is counted.
        """
        if not rules.constant or rules.index is None or not rules.aged or self._policy.rules[rules.index].exclude:
            return False
        if self._turn.bulk or self._cursor is not None or directory_id in self._skipped:
            return False
        wanted = self._agings[rules.index].class_id
        classes = self._connection.execute(
            "SELECT class_id FROM usage WHERE directory_id = ? AND files > 0", (directory_id,)
        )
        return all(row[0] == wanted for row in classes)
