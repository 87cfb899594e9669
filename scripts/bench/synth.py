"""An index of any size, made of rows for files that do not exist: as the writer leaves them, without a tree.

A small real store is scanned first, so that schema, classes, permissions and filesystems are the program's own; its
rows are the pattern. Secondary indexes and counters are made at the end, by the code that a first scan uses.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from indexer.index import derived
from indexer.index.database import connect_writer, transaction
from indexer.index.subtrees import Subtrees
from indexer.index.turn import Turn
from indexer.rules import Quota, Rule
from scripts.bench import frames
from scripts.bench.harness import INDEXER, cost

TTL = 30 * 86_400
PATTERN = 1_000
"""Files of the real store."""
AT_ONCE = 1_000_000
"""Rows of one transaction."""
_OLDER = "(:old * ((n.i % :every = 0) + (n.i % (:every * 10) = 0) + (n.i % (:every * 100) = 0)))"


def make(root: Path, files: int, directories: int, *, due: int, configuration: str | None = None) -> float:
    """Make a store at `root` whose index tells of `files` in `directories`, `due` of them expired; return seconds.

    The directories lie 1,000 in each of the ones above them, as `frames/NNN/NNN`. What is due is spread evenly; all of
    it is 2 × TTL old, a tenth 4 × TTL, a hundredth 6 × TTL. Without a `configuration` it is the profile media.
    """
    frames.make(root, PATTERN)
    cost(*INDEXER, "init", root, "--profile", "media", "--quiet")
    if configuration is not None:
        (root / "indexer.toml").write_text(configuration, encoding="utf-8")
    cost(*INDEXER, "scan", root)
    started = time.perf_counter()
    connection = connect_writer(root / ".indexer" / "index.db")
    for pragma in ("synchronous = OFF", "cache_size = -500000", "temp_store = FILE"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    derived.drop(connection)
    connection.execute("COMMIT")
    (pattern,) = connection.execute("SELECT directory_id FROM file LIMIT 1").fetchone()
    (above,) = connection.execute("SELECT parent_id FROM directory WHERE id = ?", (pattern,)).fetchone()
    first = _directories(connection, pattern, above, directories)
    _files(connection, pattern, first, files - PATTERN, directories, due)
    connection.execute("BEGIN")
    derived.make(connection)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return time.perf_counter() - started


def keep_subtrees(root: Path) -> None:
    """Let the index keep what lies below each directory, as a policy with a quota per child does."""
    connection = connect_writer(root / ".indexer" / "index.db")
    rule = Rule("frames", ("frames/**",), quota=Quota(high=1, per="child"))
    with transaction(connection):
        Subtrees(connection, Turn(int(time.time()))).adopt([rule])
    connection.close()


def _directories(connection: Any, pattern: int, above: int, directories: int) -> int:
    """Write `directories` rows, and those above them; return the id of the first."""
    last = int(connection.execute("SELECT max(id) FROM directory").fetchone()[0])
    groups = -(-directories // 1_000)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(directory)")]
    numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)"

    def insert(count: int, first: int, parent: str) -> None:
        # a handle is what the kernel gives: 8 bytes of ext4's, here the number itself
        changed = {
            "id": f"{first} + n.i",
            "parent_id": parent,
            "name": "printf('%07d', n.i)",
            "handle": f"CAST(printf('%08d', {first} + n.i) AS BLOB)",
            "inode": f"{first} + n.i",
        }
        chosen = ", ".join(changed.get(name, f"d.{name}") for name in columns)
        connection.execute(
            f"{numbers} INSERT INTO directory SELECT {chosen} FROM n CROSS JOIN directory d ON d.id = :pattern",
            {"count": count, "pattern": pattern},
        )

    connection.execute("BEGIN")
    insert(groups, last + 1, str(above))
    first = last + 1 + groups
    insert(directories, first, f"{last + 1} + n.i / 1000")
    connection.execute("COMMIT")
    return first


def _files(connection: Any, pattern: int, first: int, files: int, directories: int, due: int) -> None:
    """Write the rows in the order of their key, as a scan does."""
    columns = [row[1] for row in connection.execute("PRAGMA table_info(file)")]
    changed = {
        "directory_id": ":first + n.i * :directories / :files",
        "name": "printf('frames_%09d.jpg', n.i)",
        "inode": "1000000 + n.i",
        "mtime": f"f.mtime - {_OLDER}",
        "ctime_after": f"CASE WHEN n.i % :every = 0 THEN {_OLDER} ELSE f.ctime_after END",
        "clock": f"f.clock - {_OLDER}",
        "first_seen": f"f.first_seen - {_OLDER}",
    }
    chosen = ", ".join(changed.get(name, f"f.{name}") for name in columns)
    for start in range(0, files, AT_ONCE):
        connection.execute("BEGIN")
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT :start UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end)"
            f" INSERT INTO file SELECT {chosen} FROM n CROSS JOIN file f"
            " ON f.directory_id = :pattern AND f.name = (SELECT min(name) FROM file WHERE directory_id = :pattern)",
            {
                "start": start,
                "end": min(start + AT_ONCE, files),
                "first": first,
                "directories": directories,
                "files": files,
                "every": max(1, round(files / due)),
                "old": TTL * 2,
                "pattern": pattern,
            },
        )
        connection.execute("COMMIT")
