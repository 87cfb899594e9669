"""What can be computed from the rows: usage counters kept by triggers, and the secondary indexes.

They are made after a first scan, not before: rows then cost a third (measured), and a crash in between is repaired by
making them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_BLOCK = 512
SIZE_LIMIT = 1 << 50
"""Bytes that a file counts at most in sums: a hole may be 8 EiB large, and two of them are beyond SQLite's numbers."""
_NEW, _OLD = (f"min({row}.size, {SIZE_LIMIT})" for row in ("new", "old"))


def _triggers(prefix: str, table: str, *, by_directory: bool) -> dict[str, str]:
    """Return the triggers that keep one table of counters, by name."""
    place, where = ("{0}.directory_id, ", "directory_id = {0}.directory_id AND ") if by_directory else ("", "")
    add = f"""
        INSERT INTO {table} VALUES
            ({place.format("new")}coalesce(new.class_id, 0), 1, {_NEW}, new.blocks * new.charged * {_BLOCK})
        ON CONFLICT DO UPDATE SET
            files = files + 1, bytes = bytes + excluded.bytes, allocated = allocated + excluded.allocated;"""
    subtract = f"""
        UPDATE {table} SET files = files - 1, bytes = bytes - {_OLD},
            allocated = allocated - old.blocks * old.charged * {_BLOCK}
        WHERE {where.format("old")}class_id = coalesce(old.class_id, 0);"""
    return {
        f"{prefix}_added": f"CREATE TRIGGER {prefix}_added AFTER INSERT ON file BEGIN {add} END",
        f"{prefix}_removed": f"CREATE TRIGGER {prefix}_removed AFTER DELETE ON file BEGIN {subtract} END",
        f"{prefix}_resized": f"""
            CREATE TRIGGER {prefix}_resized AFTER UPDATE OF size, blocks, charged ON file
            WHEN old.class_id IS new.class_id
                AND (old.size <> new.size OR old.blocks * old.charged <> new.blocks * new.charged)
            BEGIN
                UPDATE {table} SET bytes = bytes + {_NEW} - {_OLD},
                    allocated = allocated + (new.blocks * new.charged - old.blocks * old.charged) * {_BLOCK}
                WHERE {where.format("new")}class_id = coalesce(new.class_id, 0);
            END""",
        f"{prefix}_reclassified": f"""
            CREATE TRIGGER {prefix}_reclassified AFTER UPDATE OF class_id ON file WHEN old.class_id IS NOT new.class_id
            BEGIN {subtract} {add} END""",
    }


TRIGGERS = _triggers("file", "usage", by_directory=True)
ROLLED = "class_usage"
"""One row a class with what `usage` has of it in all; only in a store with many directories (see `roll_up`)."""
_ROLLED_TRIGGERS = _triggers("rolled", ROLLED, by_directory=False)
SORT_KIB = 4_096
"""What a sort for an index holds in memory at a time."""
BELOW = "usage_below"
"""What lies below each directory, by class; only where quotas per child are asked for (see `index.subtrees`)."""
MANY = 50_000
"""Counters of single directories that are added up in some 5 ms."""
CLOCK_INDEX = "CREATE INDEX file_clock ON file (class_id, clock) WHERE clock IS NOT NULL"
INODE_INDEX = "CREATE INDEX file_inode ON file (inode)"

_ORDERS = {"size": "blocks DESC, clock, directory_id, name", "first_seen": "first_seen, clock, directory_id, name"}
"""Orders of eviction that need an index of their own; `queries.EVICTION` asks for them."""


def keep_orders(connection: Any, wanted: set[tuple[str, int]]) -> None:
    """Keep exactly the indexes for (order, class id) of quotas that evict by size or arrival; others cost every write.

    Each holds the aged files of its class alone. Making one is a pass over the file table.
    """
    names = {f"file_by_{order}_{class_id}": (order, class_id) for order, class_id in wanted}
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB 'file_by_*'")
    there = {row[0] for row in rows.fetchall()}
    for name in there - names.keys():
        connection.execute(f'DROP INDEX "{name}"')
    for name in names.keys() - there:
        order, class_id = names[name]
        connection.execute(
            f'CREATE INDEX "{name}" ON file ({_ORDERS[order]}) WHERE class_id = {class_id} AND clock IS NOT NULL'
        )


def exists(connection: Any, name: str) -> bool:
    """Say whether a trigger or index is there."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def drop(connection: Any) -> None:
    """Take away what slows bulk inserts down; `make` brings it back."""
    for name in (*TRIGGERS, *_ROLLED_TRIGGERS):
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    connection.execute(f"DROP TABLE IF EXISTS {ROLLED}")
    connection.execute(f"DROP TABLE IF EXISTS {BELOW}")
    connection.execute("DROP INDEX IF EXISTS file_clock")


def complete(connection: Any) -> bool:
    """Say whether counters and indexes are being kept (not so in the middle of a first scan, or after it crashed)."""
    return exists(connection, "file_clock") and all(exists(connection, name) for name in TRIGGERS)


def make(connection: Any) -> None:
    """Count usage from the rows, and make triggers and indexes; inside the caller's transaction."""
    drop(connection)
    with _sorting(connection):
        connection.execute("DELETE FROM usage")
        connection.execute(
            "INSERT INTO usage SELECT directory_id, coalesce(class_id, 0), count(*), sum(min(size, ?)),"
            " sum(blocks * charged) * ? FROM file GROUP BY directory_id, coalesce(class_id, 0)",
            (SIZE_LIMIT, _BLOCK),
        )
        connection.execute(CLOCK_INDEX)
    for statement in TRIGGERS.values():
        connection.execute(statement)
    roll_up(connection)


@contextmanager
def _sorting(connection: Any) -> Iterator[None]:
    """Let a sort hold less: SQLite's sorter keeps as much as the page cache may have, twice while it grows.

    Measured for 1,000,000 files: 60 MB less at the largest, and no slower.
    """
    (usual,) = connection.execute("PRAGMA cache_size").fetchone()
    connection.execute(f"PRAGMA cache_size = -{SORT_KIB}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA cache_size = {usual}")


def roll_up(connection: Any) -> None:
    """Keep the sums of whole classes too where there are more than MANY counters; inside the caller's transaction.

    Adding up a million of them costs half a second, keeping the sums 0.8 µs a row (measured), which small stores spare.
    """
    if exists(connection, ROLLED) or not complete(connection) or not has_many(connection):
        return
    connection.execute(
        f"CREATE TABLE {ROLLED} (class_id INTEGER PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL,"
        " allocated INTEGER NOT NULL)"
    )
    connection.execute(
        f"INSERT INTO {ROLLED} SELECT class_id, sum(files), sum(bytes), sum(allocated) FROM usage GROUP BY class_id"
    )
    for statement in _ROLLED_TRIGGERS.values():
        connection.execute(statement)


def has_many(connection: Any) -> bool:
    """Say whether there are more counters than are added up at every question."""
    (some,) = connection.execute("SELECT count(*) FROM (SELECT 1 FROM usage LIMIT ?)", (MANY + 1,)).fetchone()
    return bool(some > MANY)


def counters(connection: Any) -> str:
    """Return the smallest table whose rows sum up to each class: class_id, files, bytes, allocated."""
    return ROLLED if exists(connection, ROLLED) else "usage"


def disagreeing(connection: Any) -> int:
    """Count the counters and sums that are not what their rows add up to: one pass over the file table."""
    differ = (
        "(counted.files IS NOT kept.files OR counted.bytes IS NOT kept.bytes"
        " OR counted.allocated IS NOT kept.allocated)"
    )
    counters_query = (
        "SELECT count(*) FROM (SELECT directory_id, coalesce(class_id, 0) AS class_id, count(*) AS files,"
        f" sum(min(size, {SIZE_LIMIT})) AS bytes, sum(blocks * charged) * {_BLOCK} AS allocated FROM file GROUP BY 1, 2"
        ") AS counted FULL JOIN (SELECT * FROM usage WHERE files <> 0 OR bytes <> 0 OR allocated <> 0) AS kept"
        f" USING (directory_id, class_id) WHERE {differ}"
    )
    queries = [counters_query]
    if exists(connection, ROLLED):
        queries.append(
            "SELECT count(*) FROM (SELECT class_id, sum(files) AS files, sum(bytes) AS bytes,"
            " sum(allocated) AS allocated FROM usage GROUP BY class_id HAVING sum(files) > 0) AS counted"
            f" FULL JOIN (SELECT * FROM {ROLLED} WHERE files <> 0 OR bytes <> 0 OR allocated <> 0) AS kept"
            f" USING (class_id) WHERE {differ}"
        )
    return sum(int(connection.execute(query).fetchone()[0]) for query in queries)
