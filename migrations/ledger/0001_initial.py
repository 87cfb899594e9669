"""The ledger: what was removed, by which rule and when, what can come back, and what must not go. Never derived.

Paths: `path` is valid text (undecodable bytes escaped), `path_bytes` the exact bytes, NULL where the text is exact.
"""

from typing import Any

TABLES = (
    # `kept` and `classes` are JSON: {reason: count} and {class: {files_removed, bytes_freed, bytes_trashed}}.
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        "trigger" TEXT NOT NULL,
        user TEXT NOT NULL,
        mode TEXT NOT NULL,
        policy TEXT NOT NULL,
        started INTEGER NOT NULL,
        finished INTEGER,
        planned INTEGER NOT NULL DEFAULT 0,
        files_removed INTEGER NOT NULL DEFAULT 0,
        bytes_freed INTEGER NOT NULL DEFAULT 0,
        bytes_trashed INTEGER NOT NULL DEFAULT 0,
        directories_removed INTEGER NOT NULL DEFAULT 0,
        errors INTEGER NOT NULL DEFAULT 0,
        kept TEXT NOT NULL DEFAULT '{}',
        classes TEXT NOT NULL DEFAULT '{}',
        truncated INTEGER NOT NULL DEFAULT 0,
        interrupted INTEGER NOT NULL DEFAULT 0,
        refused TEXT
    )
    """,
    "CREATE INDEX run_open ON run (id) WHERE finished IS NULL",
    # Written twice: as an intent before the file is touched (`outcome` NULL), and with what became of it.
    # Keyed by run and number, so that what a run did lies together and needs no further index.
    """
    CREATE TABLE action (
        run_id INTEGER NOT NULL REFERENCES run (id),
        seq INTEGER NOT NULL,
        path TEXT NOT NULL,
        path_bytes BLOB,
        filesystem TEXT NOT NULL DEFAULT '',
        class TEXT,
        action TEXT NOT NULL,
        reason TEXT NOT NULL,
        size INTEGER NOT NULL,
        allocated INTEGER NOT NULL,
        links INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        gid INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        birth_ns INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        used_at INTEGER,
        clock_at INTEGER,
        ttl INTEGER,
        trash_name TEXT,
        outcome TEXT,
        error TEXT,
        at INTEGER,
        in_trash INTEGER,
        restorable_until INTEGER,
        left_run INTEGER,
        left_at INTEGER,
        restored_to TEXT,
        restored_to_bytes BLOB,
        PRIMARY KEY (run_id, seq)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX action_path ON action (path)",
    "CREATE INDEX action_trash ON action (in_trash, restorable_until, allocated) WHERE in_trash IS NOT NULL",
    """
    CREATE TABLE hold (
        id INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        path_bytes BLOB,
        kind TEXT NOT NULL,
        until INTEGER,
        reason TEXT NOT NULL DEFAULT '',
        "by" TEXT NOT NULL DEFAULT '',
        created INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        path_bytes BLOB,
        holder TEXT NOT NULL,
        expires INTEGER NOT NULL,
        created INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE notice (
        id INTEGER PRIMARY KEY,
        class TEXT NOT NULL,
        path TEXT NOT NULL,
        path_bytes BLOB,
        published INTEGER NOT NULL,
        goes_at INTEGER NOT NULL
    )
    """,
    "CREATE INDEX notice_path ON notice (path)",
    # '' stands for "no class": a primary key column must not be NULL.
    """
    CREATE TABLE usage_history (
        at INTEGER NOT NULL,
        class TEXT NOT NULL,
        files INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        allocated INTEGER NOT NULL,
        PRIMARY KEY (at, class)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # Eight hex digits in every trash name: a ledger that starts anew must not meet the names of the one before.
    "INSERT INTO meta VALUES ('id', lower(hex(randomblob(4))))",
    "PRAGMA user_version = 1",
)


def up(_migrator: Any, db: Any) -> None:
    """Make every table of schema version 1."""
    for statement in TABLES:
        db.execute_sql(statement)
