"""The published copy: the views of the contract in one SQLite file that any client reads, without our functions.

What is large (files, directories) is copied once into tables that begin with `_`, paths written out once a directory;
the contract's names are plain views on them, or small tables. What depends on the moment of reading (`expired`,
`holds`) asks the reader's own clock.
"""

from __future__ import annotations

from typing import Any

from indexer.index.surface import (
    CTIME,
    IN_CHILD,
    LEDGER_VIEWS,
    NAME,
    UNIT_CLOCK,
    USED_AT,
    VIEWS,
    WHOLE_CLOCK,
    View,
    seconds,
    type_of,
    unit_sum,
)

SCHEMA = 1
"""`PRAGMA user_version` of a published copy."""

_NOW = "CAST(strftime('%s', 'now') AS INTEGER)"
_PLACE = "CASE WHEN d.path = '' THEN '' ELSE d.path || '/' END"
_PATH = f"{_PLACE} || f.name"

_TABLES = """
    CREATE TABLE published (at INTEGER, store TEXT, root TEXT, version TEXT);
    CREATE TABLE _class (id INTEGER PRIMARY KEY, name TEXT UNIQUE, tier TEXT, live INTEGER);
    CREATE TABLE _permission (id INTEGER PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER);
    CREATE TABLE _hold (path TEXT, tree INTEGER, until INTEGER, reason TEXT, "by" TEXT, lease INTEGER, glob INTEGER);
    CREATE TABLE _directory (
        id INTEGER PRIMARY KEY, parent_id INTEGER, depth INTEGER, path TEXT, path_bytes BLOB, dev INTEGER,
        mtime INTEGER, files INTEGER, bytes INTEGER, allocated INTEGER,
        below_files INTEGER, below_bytes INTEGER, below_allocated INTEGER
    );
    CREATE TABLE _file (
        directory_id INTEGER, name TEXT, name_bytes BLOB, extension TEXT, size INTEGER, allocated INTEGER,
        links INTEGER, permission_id INTEGER, inode INTEGER, mtime INTEGER, atime INTEGER, used_at INTEGER,
        ctime INTEGER, btime INTEGER, first_seen INTEGER, class_id INTEGER, clock_at INTEGER, expires_at INTEGER,
        in_child INTEGER
    );
    CREATE TABLE _unit (directory_id INTEGER, class_id INTEGER, expires_at INTEGER, allocated INTEGER);
"""

_HOLDS = """
    INSERT INTO _hold
    SELECT path, kind = 'tree', until, reason, "by", 0, kind = 'glob' FROM ledger.hold UNION ALL
    SELECT path, 1, expires, '', holder, 1, 0 FROM ledger.lease
"""
# What a glob holds is written out, since a client knows no globs; until the last of them ends.
_GLOBS = """
    INSERT INTO _hold
    SELECT path, 0, (SELECT CASE WHEN count(*) = count(until) THEN max(until) END FROM _hold WHERE glob), '', '', 1, 0
    FROM temp.files WHERE held
"""

_DIRECTORIES = f"""
    WITH RECURSIVE down (id, parent_id, depth, path, path_bytes) AS (
        SELECT 1, NULL, 0, '', NULL UNION ALL
        SELECT d.id, d.parent_id, down.depth + 1,
            CASE down.id WHEN 1 THEN '' ELSE down.path || '/' END
                || CASE typeof(d.name) WHEN 'blob' THEN text_of(d.name) ELSE d.name END,
            CASE WHEN down.path_bytes IS NOT NULL OR typeof(d.name) = 'blob' THEN CAST(
                CASE down.id WHEN 1 THEN '' ELSE coalesce(down.path_bytes, down.path) || '/' END || d.name AS BLOB) END
        FROM down CROSS JOIN live.directory d ON d.parent_id = down.id
    ), direct AS (
        SELECT directory_id, sum(files) AS files, sum(bytes) AS bytes, sum(allocated) AS allocated
        FROM live.usage GROUP BY directory_id
    )
    INSERT INTO _directory
    SELECT down.id, down.parent_id, down.depth, down.path, down.path_bytes,
        (SELECT s.dev FROM live.filesystem s WHERE s.id = d.filesystem_id), {seconds("d.mtime_ns")},
        coalesce(u.files, 0), coalesce(u.bytes, 0), coalesce(u.allocated, 0), 0, 0, 0
    FROM down CROSS JOIN live.directory d ON d.id = down.id LEFT JOIN direct u ON u.directory_id = down.id
    ORDER BY down.id
"""

_SUMS = """
    UPDATE _directory SET (below_files, below_bytes, below_allocated) = (
        SELECT _directory.files + coalesce(sum(c.below_files), 0), _directory.bytes + coalesce(sum(c.below_bytes), 0),
            _directory.allocated + coalesce(sum(c.below_allocated), 0)
        FROM _directory c WHERE c.parent_id = _directory.id)
    WHERE depth = ?
"""

_FILES = f"""
    INSERT INTO _file
    SELECT f.directory_id, {NAME}, CASE typeof(f.name) WHEN 'blob' THEN f.name END, extension_of(f.name), f.size,
        f.blocks * 512, f.links, f.permission_id, f.inode, f.mtime, f.atime, {USED_AT}, {CTIME},
        {CTIME} + {seconds("f.birth_after")}, f.first_seen, f.class_id, {WHOLE_CLOCK}, {WHOLE_CLOCK} + c.ttl,
        {IN_CHILD}
    FROM live.file f LEFT JOIN live.class c ON c.id = f.class_id ORDER BY f.directory_id, f.name
"""

_UNITS = f"""
    INSERT INTO _unit SELECT u.directory_id, u.class_id, {UNIT_CLOCK} + c.ttl, {unit_sum("allocated")}
    FROM live.unit u CROSS JOIN live.class c ON c.id = u.class_id WHERE c.live AND c.ttl IS NOT NULL
"""

_INDEXES = {
    "_file_directory": "_file (directory_id)",
    "_file_class": "_file (class_id, expires_at)",
    "_file_expires": "_file (expires_at) WHERE expires_at IS NOT NULL",
    "_unit_expires": "_unit (expires_at)",
    "_file_allocated": "_file (allocated)",
    "notices_path": "notices (path)",
    "actions_path": "actions (path)",
    "actions_run": "actions (run)",
    "usage_history_at": "usage_history (at)",
}

_VIEWS = {
    "files": f"""
        SELECT {_PATH} AS path,
            CASE WHEN d.path_bytes IS NOT NULL OR f.name_bytes IS NOT NULL THEN CAST(
                CASE WHEN d.path = '' THEN '' ELSE coalesce(d.path_bytes, d.path) || '/' END
                    || coalesce(f.name_bytes, f.name) AS BLOB) END AS path_bytes,
            d.path AS directory, f.name AS name, f.extension AS extension,
            CASE (SELECT p.mode FROM _permission p WHERE p.id = f.permission_id) & 61440
                WHEN 32768 THEN 'file' WHEN 40960 THEN 'symlink' ELSE 'other' END AS kind,
            f.size AS size, f.allocated AS allocated, f.links AS links,
            (SELECT p.uid FROM _permission p WHERE p.id = f.permission_id) AS uid,
            (SELECT p.gid FROM _permission p WHERE p.id = f.permission_id) AS gid,
            (SELECT p.mode FROM _permission p WHERE p.id = f.permission_id) & 4095 AS mode,
            d.dev AS dev, f.inode AS inode, f.mtime AS mtime, f.atime AS atime, f.used_at AS used_at, f.ctime AS ctime,
            f.btime AS btime, f.first_seen AS first_seen, f.clock_at AS clock_at, c.name AS class, c.tier AS tier,
            f.expires_at AS expires_at,
            EXISTS (SELECT 1 FROM _hold h WHERE (h.until IS NULL OR h.until > {_NOW}) AND (h.path = {_PATH} OR h.tree
                AND (h.path = '' OR substr({_PATH}, 1, length(h.path) + 1) = h.path || '/'))) AS held
        FROM _file f LEFT JOIN _directory d ON d.id = f.directory_id LEFT JOIN _class c ON c.id = f.class_id""",
    "directories": "SELECT path, files, bytes, allocated, mtime FROM _directory",
    "tree": "SELECT path, depth, below_files AS files, below_bytes AS bytes, below_allocated AS allocated"
    " FROM _directory",
    "expired": f"""
        SELECT {_PATH} AS path, c.name AS class, f.expires_at AS expires_at, f.allocated AS allocated
        FROM _file f CROSS JOIN _class c ON c.id = f.class_id AND c.live
            LEFT JOIN _directory d ON d.id = f.directory_id
        WHERE f.expires_at < {_NOW} AND NOT f.in_child
        UNION ALL
        SELECT d.path, c.name, u.expires_at, u.allocated
        FROM _unit u JOIN _class c ON c.id = u.class_id JOIN _directory d ON d.id = u.directory_id
        WHERE u.expires_at < {_NOW}""",
    "expiring": f"""
        SELECT {_PATH} AS path, c.name AS class, f.expires_at AS expires_at, f.allocated AS allocated
        FROM _file f CROSS JOIN _class c ON c.id = f.class_id AND c.live
            LEFT JOIN _directory d ON d.id = f.directory_id
        WHERE f.expires_at IS NOT NULL AND NOT f.in_child
        UNION ALL
        SELECT d.path, c.name, u.expires_at, u.allocated
        FROM _unit u JOIN _class c ON c.id = u.class_id JOIN _directory d ON d.id = u.directory_id
        WHERE u.expires_at IS NOT NULL ORDER BY 3""",
    "holds": f"""
        SELECT path, until, reason, "by" FROM _hold WHERE NOT lease AND (until IS NULL OR until > {_NOW})""",
}


def copy_ledger(connection: Any) -> None:
    """Make the tables, and fill those that come from the ledger; outside of a transaction.

    `connection` is the new file's, `indexer.index.views.install` has made the live views on it. Each statement is a
    transaction of its own: the ledger is in rollback mode, so its writer waits for whoever reads it.
    """
    connection.executescript(_TABLES)
    if any(row[1] == "ledger" for row in connection.execute("PRAGMA database_list").fetchall()):
        connection.execute(_HOLDS)
    for name, view in LEDGER_VIEWS.items():
        if name not in _VIEWS:
            _table(connection, name, view)


def copy_index(connection: Any, *, at: int, store: str, root: str, version: str) -> None:
    """Fill the rest from the index attached as `live`, in one transaction: a snapshot, whatever is written meanwhile.

    `at` (Unix seconds), the store's id and root, and the version of the program are told in the table `published`.
    """
    connection.execute("BEGIN")
    connection.execute("INSERT INTO published VALUES (?, ?, ?, ?)", (at, store, root, version))
    connection.execute("INSERT INTO _class SELECT id, name, tier, live FROM live.class")
    connection.execute("INSERT INTO _permission SELECT id, mode, uid, gid FROM live.permission")
    _directories(connection)
    connection.execute(_FILES)
    connection.execute(_UNITS)
    if connection.execute("SELECT 1 FROM _hold WHERE glob LIMIT 1").fetchone() is not None:
        connection.execute(_GLOBS)
    for name, view in VIEWS.items():
        if name not in _VIEWS:
            _table(connection, name, view)
    for index, columns in _INDEXES.items():
        connection.execute(f"CREATE INDEX main.{index} ON {columns}")
    for name, sql in _VIEWS.items():
        connection.execute(f"CREATE VIEW main.{name} AS {sql}")
    connection.execute(f"PRAGMA main.user_version = {SCHEMA}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA analysis_limit = 1000")
    connection.execute("ANALYZE main")


def _directories(connection: Any) -> None:
    """Write every path out once, and sum up what lies below, the deepest directories first."""
    connection.execute(_DIRECTORIES)
    connection.execute("CREATE INDEX main._directory_parent ON _directory (parent_id)")
    connection.execute("CREATE INDEX main._directory_depth ON _directory (depth)")
    deepest = connection.execute("SELECT max(depth) FROM _directory").fetchone()[0] or 0
    for depth in range(deepest, -1, -1):
        connection.execute(_SUMS, (depth,))
    connection.execute("CREATE INDEX main._directory_path ON _directory (path)")


def _table(connection: Any, name: str, view: View) -> None:
    """Make a small view of the contract a table with what it says now."""
    declared = ", ".join(f'"{column}" {type_of(column, name)}' for column in view.columns)
    connection.execute(f"CREATE TABLE main.{name} ({declared})")
    connection.execute(f"INSERT INTO main.{name} SELECT * FROM temp.{name}")
