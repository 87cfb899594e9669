"""The SQL about children that age as one: what the clock of each is, counted from the rows, and what tells of changes.

`units` keeps what this counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.index.rows import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.rules import Rule

LEAST = -(1 << 61)
"""A lower bound of every clock (`rows.FAR`)."""
BELOW = (
    "WITH RECURSIVE below (id) AS (SELECT {0} UNION ALL"
    " SELECT d.id FROM below CROSS JOIN directory d ON d.parent_id = below.id)"
)
_STORED = "{0}clock"
_USED = "max({0}clock, {0}atime, coalesce({0}used_at, {0}atime))"
"""Of a class by access: its stored clock is a lower bound, a later use is known all the same."""


def value_of(rule: Rule, prefix: str = "") -> str:
    """Return SQL for the clock of one file of a unit; `prefix` is the table's alias with its dot."""
    return (_USED if "atime" in rule.clocks else _STORED).format(prefix)


def count_query(rule: Rule) -> str:
    """Return SQL for (clock, arrived, files read) of a child (parameters: its directory's id, the class's)."""
    return (
        f"{BELOW.format('?')} SELECT max({value_of(rule, 'f.')}), min(f.first_seen), count(*)"
        " FROM below CROSS JOIN file f ON f.directory_id = below.id WHERE f.class_id = ? AND f.clock IS NOT NULL"
    )


def make(connection: Any, rules: dict[int, Rule], path_of: Any) -> None:
    """Fill the table from the rows: `rules` by class id, `path_of` a directory id gives its path or None."""
    for class_id, rule in rules.items():
        connection.execute("DELETE FROM unit WHERE class_id = ?", (class_id,))
        ids: dict[bytes, int] = {}
        found: dict[bytes, tuple[int, int]] = {}
        rows: Iterable[tuple[int, int, int]] = connection.execute(
            f"SELECT directory_id, max({value_of(rule)}), min(first_seen) FROM file"
            " WHERE class_id = ? AND clock IS NOT NULL GROUP BY directory_id",
            (class_id,),
        )
        for directory_id, clock, arrived in rows:
            path = path_of(directory_id)
            child = None if path is None else rule.child_of(path)
            if child is None:
                continue
            if child == path:
                ids[child] = directory_id
            had = found.get(child, (clock, arrived))
            found[child] = max(had[0], clock), min(had[1], arrived)
        for child, (clock, arrived) in found.items():
            number = ids.get(child) or _id_at(connection, child)
            connection.execute("INSERT INTO unit VALUES (?, ?, ?, ?, 0)", (class_id, number, clock, arrived))


def _id_at(connection: Any, path: bytes) -> int:
    current = 1
    for name in path.split(b"/"):
        current = connection.execute(
            "SELECT id FROM directory WHERE parent_id = ? AND name = ?", (current, key_of(name))
        ).fetchone()[0]
    return current


def triggers(ids: str, lazy: str) -> Iterable[str]:
    """Yield the temporary triggers for these class ids; those of `lazy` age by use as well."""
    new, old = (
        f"CASE WHEN {row}.class_id IN ({lazy}) THEN {_USED.format(row + '.')} ELSE {row}.clock END"
        for row in ("new", "old")
    )
    new, old = (f"CASE WHEN {row}.clock IS NOT NULL THEN {value} END" for row, value in (("new", new), ("old", old)))
    yield (
        f"CREATE TEMP TRIGGER unit_came AFTER INSERT ON file WHEN new.class_id IN ({ids})"
        f" BEGIN SELECT unit_came(new.class_id, new.directory_id, {new}, new.first_seen); END"
    )
    yield (
        f"CREATE TEMP TRIGGER unit_went AFTER DELETE ON file WHEN old.class_id IN ({ids})"
        f" BEGIN SELECT unit_went(old.class_id, old.directory_id, {old}); END"
    )
    yield (
        "CREATE TEMP TRIGGER unit_aged AFTER UPDATE OF class_id, clock, atime, used_at, first_seen ON file"
        f" WHEN (new.class_id IN ({ids}) OR old.class_id IN ({ids})) AND (new.class_id IS NOT old.class_id OR"
        f" {new} IS NOT {old} OR new.first_seen <> old.first_seen) BEGIN"
        f" SELECT CASE WHEN new.class_id IS old.class_id"
        f" THEN unit_aged(new.class_id, new.directory_id, {old}, {new}, new.first_seen)"
        f" ELSE coalesce(unit_went(old.class_id, old.directory_id, {old}), 0)"
        f" + coalesce(unit_came(new.class_id, new.directory_id, {new}, new.first_seen), 0) END; END"
    )
    yield (
        "CREATE TEMP TRIGGER unit_left AFTER UPDATE OF parent_id, name ON directory WHEN old.parent_id IS NOT NULL"
        " BEGIN SELECT unit_left(old.parent_id); END"
    )
    yield (
        "CREATE TEMP TRIGGER unit_gone AFTER DELETE ON directory"
        " BEGIN DELETE FROM unit WHERE directory_id = old.id; END"
    )
