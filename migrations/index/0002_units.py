"""Classes with `unit = "child"`: the clock of each direct child directory, kept beside the clocks of its files."""

from typing import Any

STATEMENTS = (
    "ALTER TABLE class ADD COLUMN unit TEXT NOT NULL DEFAULT 'file'",
    # `clock` is that of the child's youngest file (what is stored there, or a later use that is known), `arrived` the
    # first_seen of its first. Where `dirty`, both are bounds: the youngest or the first has gone, or grown older.
    """
    CREATE TABLE unit (
        class_id INTEGER NOT NULL,
        directory_id INTEGER NOT NULL,
        clock INTEGER NOT NULL,
        arrived INTEGER NOT NULL,
        dirty INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (class_id, directory_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX unit_clock ON unit (class_id, clock)",
    "CREATE INDEX unit_directory ON unit (directory_id)",
    "CREATE INDEX unit_dirty ON unit (class_id) WHERE dirty",
    "PRAGMA user_version = 2",
)


def up(_migrator: Any, db: Any) -> None:
    """Make the table; it is filled by the writer where the policy has such a class."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
