"""The layout of a file's row: how a stat becomes one, how one becomes an `IndexedFile`, and the SQL around it."""

from __future__ import annotations

from typing import Any

from indexer.records import Identity, IndexedFile

NS = 1_000_000_000

Key = str | bytes
"""A name as SQLite stores it: text where it is valid UTF-8, else bytes."""

Row = tuple[Any, ...]

COLUMNS = (
    "directory_id, name, size, blocks, links, permission_id, inode, mtime, ctime_after, birth_after, atime,"
    " used_at, first_seen, class_id, clock, charged"
)
# Positions in a row; the stat's part is row[SIZE:USED_AT].
(
    DIRECTORY,
    NAME,
    SIZE,
    BLOCKS,
    LINKS,
    PERMISSION,
    INODE,
    MTIME,
    CTIME_AFTER,
    BIRTH_AFTER,
    ATIME,
    USED_AT,
    FIRST_SEEN,
    CLASS,
    CLOCK,
    CHARGED,
) = range(16)

FAR = 1 << 61
"""Seconds: times beyond it are stored as it, so that differences and sums of times stay within SQLite's 64 bits."""
_WORD = (1 << 64) - 1
_new = tuple.__new__

NONE = -(1 << 62)
"""What is bound where NULL is meant: sqlite3 spends 0.5 µs on adapting a None (measured), SQL's nullif 0.05."""
_NULL = f"nullif(?, {NONE})"

SELECT = f"SELECT {COLUMNS} FROM file"
INSERT = f"INSERT INTO file ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {_NULL}, ?, {_NULL}, ?, {_NULL}, {_NULL}, ?)"
DELETE = "DELETE FROM file WHERE directory_id = ? AND name = ?"
# Naming the indexed columns in SET moves the index entry even where the value stays, so there are two updates.
_UPDATE_STAT = (
    "UPDATE file SET size = ?, blocks = ?, links = ?, permission_id = ?, inode = ?, mtime = ?, ctime_after = ?,"
    f" birth_after = ?, atime = ?, used_at = {_NULL}, first_seen = ?"
)
UPDATE = f"{_UPDATE_STAT} WHERE directory_id = ? AND name = ?"
UPDATE_MOVED = f"{_UPDATE_STAT}, class_id = {_NULL}, clock = {_NULL}, charged = ? WHERE directory_id = ? AND name = ?"
USE = "UPDATE file SET used_at = ? WHERE directory_id = ? AND name = ? AND coalesce(used_at, atime) < ?"


def bounded(time: int) -> int:
    """Return a time in seconds as it is stored."""
    return max(-FAR, min(FAR, time))


def signed(inode: int) -> int:
    """Return an inode number as SQLite stores it: NFS, FUSE and overlayfs use the highest of its 64 bits."""
    return inode - (1 << 64) if inode >> 63 else inode


def key_of(name: bytes) -> Key:
    """Return a name as it is stored."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


def name_of(key: Key) -> bytes:
    """Return a stored name as bytes."""
    return key.encode() if isinstance(key, str) else key


def identity_of(row: Row) -> Identity:
    """Return which file a row is, the inode signed as it is stored; birth 0 where the filesystem keeps none."""
    birth_after = row[BIRTH_AFTER]
    if birth_after is None:
        return Identity(row[INODE], 0)
    return Identity(row[INODE], (row[MTIME] + row[CTIME_AFTER]) * NS + birth_after)


def decode(row: Row, directory: bytes, permission: tuple[int, int, int], class_name: str | None) -> IndexedFile:
    """Return a row as a value; `permission` is (mode, uid, gid)."""
    (
        directory_id, key, size, blocks, links, _, inode, mtime, ctime_after, birth_after, atime, used_at, first_seen,
        _, clock, charged,
    ) = row  # fmt: skip
    ctime = mtime + ctime_after
    birth_ns = 0 if birth_after is None else ctime * NS + birth_after
    # In the order of the fields: with their names it takes three times as long, and a plan makes one for each file.
    return _new(IndexedFile, (
        directory_id,
        directory,
        key.encode() if isinstance(key, str) else key,
        *permission,
        size,
        blocks * 512,
        links,
        _new(Identity, (inode & _WORD, birth_ns)),
        mtime,
        atime,
        atime if used_at is None or used_at < atime else used_at,
        ctime,
        birth_ns // NS if birth_ns else None,
        first_seen,
        class_name,
        clock,
        bool(charged),
    ))  # fmt: skip
