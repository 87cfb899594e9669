"""What lies below each directory, by class, so that a quota of a child is asked of one row however deep the child is.

counter changed → noted → at the end of the transaction, once, up the tree → usage_below
a directory moved → all of it is taken from those above its old place and given to those above the new one

Only directories that have others in them get rows. Kept where a policy asks for quotas per child and there are too many
counters to add up (`derived.MANY`); dropped, and made again by a later start or pass, where what is known of the tree
is no tree for a while (moves that were half seen leave rings). The triggers are temporary: they are the writer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID
from indexer.index import derived
from indexer.index.derived import BELOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from indexer.index.turn import Turn
    from indexer.rules import Rule

DEEPEST = 1_000
"""Levels: in a deeper tree, or a ring, nothing is kept."""

_SUMS = "files, directories, bytes, allocated"
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS.split(", "))
_UP = f"""
    up (directory_id, class_id, {_SUMS}, depth) AS (
        SELECT *, 1 FROM beginning UNION ALL
        SELECT d.parent_id, up.class_id, up.files, up.directories, up.bytes, up.allocated, up.depth + 1
        FROM up CROSS JOIN directory d ON d.id = up.directory_id
        WHERE d.parent_id IS NOT NULL AND up.depth < {DEEPEST})
    SELECT directory_id, class_id, sum(files) AS files, sum(directories) AS directories, sum(bytes) AS bytes,
        sum(allocated) AS allocated, max(depth) AS depth
    FROM up GROUP BY directory_id, class_id"""
"""What begins in some directories, as it counts for each of those above them."""
_BEGINNING = f"""
    beginning (directory_id, class_id, {_SUMS}) AS MATERIALIZED (
        SELECT d.parent_id, c.class_id, sum(c.files), sum(c.directories), sum(c.bytes), sum(c.allocated)
        FROM {{}} c CROSS JOIN directory d ON d.id = c.directory_id WHERE d.parent_id IS NOT NULL GROUP BY 1, 2)"""
"""Added up by the directories above first: many lie in one."""
_COUNTED = _BEGINNING.format("(SELECT *, files > 0 AS directories FROM usage)")
_CHANGED = _BEGINNING.format("temp.usage_change")
_OF_ONE = f"""
    SELECT class_id, sum(files), sum(directories), sum(bytes), sum(allocated) FROM (
        SELECT class_id, files, files > 0 AS directories, bytes, allocated FROM usage WHERE directory_id = :id
        UNION ALL SELECT class_id, {_SUMS} FROM {BELOW} WHERE directory_id = :id)
    GROUP BY class_id HAVING sum(files) <> 0"""
"""All of one directory, what lies directly in it too."""


class Subtrees:
    """The table `usage_below` through the writer's connection."""

    def __init__(self, connection: Any, turn: Turn) -> None:
        self._connection = connection
        self._turn = turn
        self._wanted = False
        self._kept = False
        self._changed: dict[tuple[int, int], list[int]] = {}
        connection.execute(
            "CREATE TEMP TABLE usage_change (directory_id INTEGER NOT NULL, class_id INTEGER NOT NULL,"
            " files INTEGER NOT NULL, directories INTEGER NOT NULL, bytes INTEGER NOT NULL, allocated INTEGER NOT NULL,"
            " PRIMARY KEY (directory_id, class_id)) WITHOUT ROWID"
        )
        connection.create_function("usage_changed", 6, self._note)
        connection.execute(f"CREATE TEMP TABLE usage_risen (directory_id, class_id, {_SUMS}, depth)")

    def adopt(self, rules: Iterable[Rule]) -> None:
        """This policy is in force; in the caller's transaction. The first time, see whether the table can be trusted.

        A pass over all counters where it has to be made.
        """
        self._wanted = any(rule.quota is not None and rule.quota.per == "child" for rule in rules)
        there = derived.exists(self._connection, BELOW)
        if there and not self._kept and not self._adds_up():  # another version wrote, which knew nothing of it
            self._give_up()
            there = False
        if there and not self._wanted:
            self._give_up()
        elif there:
            self._listen()
        else:
            self.make()

    def make(self) -> None:
        """Make the table where it is wanted and not there, and listen from here on; in the caller's transaction."""
        connection = self._connection
        if not self._wanted or self._kept or self._turn.bulk or not derived.has_many(connection):
            return
        connection.execute("DELETE FROM temp.usage_risen")
        connection.execute(f"INSERT INTO temp.usage_risen WITH RECURSIVE {_COUNTED}, {_UP}")
        if self._too_deep():
            return
        connection.execute(f"DROP TABLE IF EXISTS {BELOW}")
        connection.execute(
            f"CREATE TABLE {BELOW} (directory_id INTEGER NOT NULL, class_id INTEGER NOT NULL, files INTEGER NOT NULL,"
            " directories INTEGER NOT NULL, bytes INTEGER NOT NULL, allocated INTEGER NOT NULL,"
            " PRIMARY KEY (directory_id, class_id)) WITHOUT ROWID"
        )
        connection.execute(f"INSERT INTO {BELOW} SELECT directory_id, class_id, {_SUMS} FROM temp.usage_risen")
        connection.execute("DELETE FROM temp.usage_risen")
        self._listen()

    def _note(self, directory_id: int, class_id: int, files: int, directories: int, size: int, allocated: int) -> None:
        """A counter changed: a call from the trigger, which costs half of what a table of its own would (measured)."""
        noted = self._changed.get((directory_id, class_id))
        if noted is None:
            self._changed[directory_id, class_id] = [files, directories, size, allocated]
        else:
            noted[0] += files
            noted[1] += directories
            noted[2] += size
            noted[3] += allocated

    def begin(self) -> None:
        """Start a transaction."""
        self._changed.clear()

    def rollback(self) -> None:
        """It failed: the tables are as they were, and so are the triggers."""
        self._changed.clear()
        self._kept = bool(
            self._connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'below_changed'").fetchone()
        )

    def finish(self) -> None:
        """Count what has changed for the directories above; asked also before one of them moves."""
        connection = self._connection
        if not self._kept or not self._changed:
            return
        connection.executemany(
            "INSERT INTO temp.usage_change VALUES (?, ?, ?, ?, ?, ?)",
            [(*place, *sums) for place, sums in self._changed.items()],
        )
        self._changed.clear()
        connection.execute(f"INSERT INTO temp.usage_risen WITH RECURSIVE {_CHANGED}, {_UP}")
        connection.execute("DELETE FROM temp.usage_change")
        if self._too_deep():
            self._give_up()
            return
        connection.execute(
            f"INSERT INTO {BELOW} SELECT directory_id, class_id, {_SUMS} FROM temp.usage_risen WHERE true"
            f" ON CONFLICT DO UPDATE SET {_ADDED}"
        )
        connection.execute("DELETE FROM temp.usage_risen")

    # Directories that move

    def left(self, directory_id: int, parent_id: int) -> None:
        """A directory, of which all changes have been counted, is no longer in this one."""
        self._carry(directory_id, parent_id, -1)

    def came(self, directory_id: int, parent_id: int) -> None:
        """A directory, of which all changes have been counted, is in this one now."""
        self._carry(directory_id, parent_id, 1)

    def gone(self, directory_ids: Sequence[int]) -> None:
        """These directories are no more, and nothing was in them any longer."""
        if self._kept:
            self._connection.executemany(
                f"DELETE FROM {BELOW} WHERE directory_id = ?", [(each,) for each in directory_ids]
            )

    def _carry(self, directory_id: int, parent_id: int, sign: int) -> None:
        if not self._kept:
            return
        sums = self._connection.execute(_OF_ONE, {"id": directory_id}).fetchall()
        above = self._above(directory_id, parent_id)
        if above is None:
            self._give_up()
        elif sums:
            self._connection.executemany(
                f"INSERT INTO {BELOW} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {_ADDED}",
                [(each, row[0], *(sign * value for value in row[1:])) for each in above for row in sums],
            )

    def _above(self, directory_id: int, parent_id: int) -> list[int] | None:
        """Return a directory and all above it; None where `directory_id` is among them, or they have no end."""
        found: list[int] = []
        current: int | None = parent_id
        while current is not None:
            if current == directory_id or len(found) >= DEEPEST:
                return None
            found.append(current)
            row = self._connection.execute("SELECT parent_id FROM directory WHERE id = ?", (current,)).fetchone()
            current = None if row is None else row[0]
        return found

    # Keeping it, and not

    def _listen(self) -> None:
        self._kept = True
        for trigger in _TRIGGERS:
            self._connection.execute(trigger)

    def _give_up(self) -> None:
        for name in ("below_counted", "below_changed", "below_uncounted"):
            self._connection.execute(f"DROP TRIGGER IF EXISTS temp.{name}")
        self._changed.clear()
        self._connection.execute("DELETE FROM temp.usage_change")
        self._connection.execute("DELETE FROM temp.usage_risen")
        self._connection.execute(f"DROP TABLE IF EXISTS {BELOW}")
        self._kept = False

    def _too_deep(self) -> bool:
        """Say whether what has risen found no end; then it is forgotten."""
        (depth,) = self._connection.execute("SELECT max(depth) FROM temp.usage_risen").fetchone()
        if depth is None or depth < DEEPEST:
            return False
        self._connection.execute("DELETE FROM temp.usage_risen")
        return True

    def _adds_up(self) -> bool:
        """Say whether the root, and what waits in limbo, hold what the classes hold by the counters' own triggers."""
        tops = f"(id = {ROOT_ID} OR parent_id IS NULL)"
        known = self._connection.execute(
            "SELECT class_id, sum(files), sum(bytes), sum(allocated) FROM ("
            f"SELECT u.class_id, u.files, u.bytes, u.allocated FROM directory d CROSS JOIN usage u"
            f" ON u.directory_id = d.id WHERE {tops}"
            f" UNION ALL SELECT b.class_id, b.files, b.bytes, b.allocated FROM directory d CROSS JOIN {BELOW} b"
            f" ON b.directory_id = d.id WHERE {tops}) GROUP BY class_id HAVING sum(files) <> 0 ORDER BY class_id"
        ).fetchall()
        counted = self._connection.execute(
            f"SELECT class_id, sum(files), sum(bytes), sum(allocated) FROM {derived.counters(self._connection)}"
            " GROUP BY class_id HAVING sum(files) <> 0 ORDER BY class_id"
        ).fetchall()
        return [tuple(row) for row in known] == [tuple(row) for row in counted]


def disagreeing(connection: Any) -> int:
    """Count the rows that are not what the counters add up to: one pass over these."""
    if not derived.exists(connection, BELOW):
        return 0
    query = f"WITH RECURSIVE {_COUNTED}, {_UP} HAVING sum(files) <> 0 OR sum(bytes) <> 0 OR sum(allocated) <> 0"
    differ = " OR ".join(f"counted.{name} IS NOT kept.{name}" for name in _SUMS.split(", "))
    found = connection.execute(
        f"SELECT count(*) FROM (SELECT directory_id, class_id, {_SUMS} FROM ({query})) AS counted FULL JOIN"
        f" (SELECT * FROM {BELOW} WHERE files <> 0 OR bytes <> 0 OR allocated <> 0) AS kept"
        f" USING (directory_id, class_id) WHERE {differ}"
    )
    return int(found.fetchone()[0])


def _trigger(name: str, event: str, new: str, old: str) -> str:
    """Return the trigger that notes what a counter gained; `new` and `old` are rows, "" where there is none."""

    def change(column: str) -> str:
        return f"{f'new.{column}' if new else '0'} - {f'old.{column}' if old else '0'}"

    row = new or old
    directories = f"{'(new.files > 0)' if new else '0'} - {'(old.files > 0)' if old else '0'}"
    return (
        f"CREATE TEMP TRIGGER IF NOT EXISTS {name} AFTER {event} ON usage BEGIN"
        f" SELECT usage_changed({row}.directory_id, {row}.class_id, {change('files')}, {directories},"
        f" {change('bytes')}, {change('allocated')}); END"
    )


_TRIGGERS = (
    _trigger("below_counted", "INSERT", "new", ""),
    _trigger("below_changed", "UPDATE", "new", "old"),
    _trigger("below_uncounted", "DELETE", "", "old"),
)
