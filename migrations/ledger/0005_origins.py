"""Who the directories were that a run took something out of: nothing goes back into another one that lets others in."""

from typing import Any

STATEMENTS = (
    # Numbered within a run, as actions are; `parent` is the number of the directory above, NULL below the root.
    """
    CREATE TABLE origin (
        run_id INTEGER NOT NULL REFERENCES run (id),
        number INTEGER NOT NULL,
        parent INTEGER,
        inode INTEGER NOT NULL,
        birth_ns INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        gid INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        acl BLOB,
        default_acl BLOB,
        PRIMARY KEY (run_id, number)
    ) WITHOUT ROWID
    """,
    # NULL: not known (actions of before), or it lay in the root itself. Of a directory that went: its own number.
    "ALTER TABLE action ADD COLUMN origin INTEGER",
    "PRAGMA user_version = 5",
)


def up(_migrator: Any, db: Any) -> None:
    """Make schema version 5."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
