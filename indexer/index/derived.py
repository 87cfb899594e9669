"""What can be computed from the rows: usage counters kept by triggers, and the secondary indexes.

They are made after a first scan, not before: rows then cost a third (measured), and a crash in between is repaired by
making them again.
"""

from __future__ import annotations

from typing import Any

_BLOCK = 512
SIZE_LIMIT = 1 << 50
"""Bytes that a file counts at most in sums: a hole may be 8 EiB large, and two of them are beyond SQLite's numbers."""
_NEW, _OLD = (f"min({row}.size, {SIZE_LIMIT})" for row in ("new", "old"))

_ADD = f"""
    INSERT INTO usage VALUES (new.directory_id, coalesce(new.class_id, 0), 1, {_NEW}, new.blocks * new.charged * 512)
    ON CONFLICT (directory_id, class_id) DO UPDATE SET
        files = files + 1, bytes = bytes + excluded.bytes, allocated = allocated + excluded.allocated;
"""
_SUBTRACT = f"""
    UPDATE usage SET files = files - 1, bytes = bytes - {_OLD}, allocated = allocated - old.blocks * old.charged * 512
    WHERE directory_id = old.directory_id AND class_id = coalesce(old.class_id, 0);
"""

TRIGGERS = {
    "file_added": f"CREATE TRIGGER file_added AFTER INSERT ON file BEGIN {_ADD} END",
    "file_removed": f"CREATE TRIGGER file_removed AFTER DELETE ON file BEGIN {_SUBTRACT} END",
    "file_resized": f"""
        CREATE TRIGGER file_resized AFTER UPDATE OF size, blocks, charged ON file
        WHEN old.class_id IS new.class_id
            AND (old.size <> new.size OR old.blocks * old.charged <> new.blocks * new.charged)
        BEGIN
            UPDATE usage SET bytes = bytes + {_NEW} - {_OLD},
                allocated = allocated + (new.blocks * new.charged - old.blocks * old.charged) * 512
            WHERE directory_id = new.directory_id AND class_id = coalesce(new.class_id, 0);
        END""",
    "file_reclassified": f"""
        CREATE TRIGGER file_reclassified AFTER UPDATE OF class_id ON file WHEN old.class_id IS NOT new.class_id
        BEGIN {_SUBTRACT} {_ADD} END""",
}
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
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    connection.execute("DROP INDEX IF EXISTS file_clock")


def complete(connection: Any) -> bool:
    """Say whether counters and indexes are being kept (not so in the middle of a first scan, or after it crashed)."""
    return exists(connection, "file_clock") and all(exists(connection, name) for name in TRIGGERS)


def make(connection: Any) -> None:
    """Count usage from the rows, and make triggers and indexes; inside the caller's transaction."""
    drop(connection)
    connection.execute("DELETE FROM usage")
    connection.execute(
        "INSERT INTO usage SELECT directory_id, coalesce(class_id, 0), count(*), sum(min(size, ?)),"
        " sum(blocks * charged) * ? FROM file GROUP BY directory_id, coalesce(class_id, 0)",
        (SIZE_LIMIT, _BLOCK),
    )
    connection.execute(CLOCK_INDEX)
    for statement in TRIGGERS.values():
        connection.execute(statement)
