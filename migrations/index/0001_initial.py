"""The index: directories, files, classes, and what is used where. Derived data: a scan rebuilds all of it.

Triggers and secondary indexes are not here: the program makes them (`indexer/index/derived.py`), after a first scan.
"""

from typing import Any

TABLES = (
    # A name is TEXT where it is valid UTF-8, else BLOB. The root has id 1, no parent and an empty name;
    # another row without a parent is in limbo: displaced, and not yet found again. Ids are not used twice
    # (AUTOINCREMENT): a late hint or listing can then never hit another directory.
    """
    CREATE TABLE directory (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        parent_id INTEGER,
        name NOT NULL,
        filesystem_id INTEGER NOT NULL DEFAULT 1,
        handle BLOB,
        inode INTEGER,
        mtime_ns INTEGER NOT NULL DEFAULT 0,
        ctime_ns INTEGER NOT NULL DEFAULT 0,
        listed_ns INTEGER NOT NULL DEFAULT 0,
        verified_ns INTEGER NOT NULL DEFAULT 0,
        problem INTEGER,
        UNIQUE (parent_id, name)
    )
    """,
    "CREATE UNIQUE INDEX directory_handle ON directory (handle, filesystem_id) WHERE handle IS NOT NULL",
    # Keyed by place and without rowid: the key is stored once and files of a directory lie together. ctime and birth
    # are stored as distances (most are 0 or short), which saves 10 bytes a file.
    """
    CREATE TABLE file (
        directory_id INTEGER NOT NULL,
        name NOT NULL,
        size INTEGER NOT NULL,
        blocks INTEGER NOT NULL,
        links INTEGER NOT NULL,
        permission_id INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        mtime INTEGER NOT NULL,
        ctime_after INTEGER NOT NULL,
        birth_after INTEGER,
        atime INTEGER NOT NULL,
        used_at INTEGER,
        first_seen INTEGER NOT NULL,
        class_id INTEGER,
        clock INTEGER,
        charged INTEGER NOT NULL DEFAULT 1,
        PRIMARY KEY (directory_id, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE permission (
        id INTEGER PRIMARY KEY,
        mode INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        gid INTEGER NOT NULL,
        UNIQUE (mode, uid, gid)
    )
    """,
    """
    CREATE TABLE class (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        position INTEGER NOT NULL,
        tier TEXT NOT NULL,
        ttl INTEGER,
        clocks TEXT NOT NULL,
        arrival_floor INTEGER NOT NULL,
        quota_high INTEGER,
        quota_low INTEGER,
        live INTEGER NOT NULL DEFAULT 1
    )
    """,
    # class_id 0: files in no class.
    """
    CREATE TABLE usage (
        directory_id INTEGER NOT NULL,
        class_id INTEGER NOT NULL,
        files INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        allocated INTEGER NOT NULL,
        PRIMARY KEY (directory_id, class_id)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE filesystem (id INTEGER PRIMARY KEY, path NOT NULL UNIQUE, dev INTEGER, fsid TEXT)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


def up(_migrator: Any, db: Any) -> None:
    """Create the tables; `user_version` is the schema's number, checked before anything else is read."""
    for statement in TABLES:
        db.execute_sql(statement)
    db.execute_sql("PRAGMA user_version = 1")
