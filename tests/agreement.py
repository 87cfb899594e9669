"""The oracle of the index: a plain walk of the tree against all that is stored, counters and charges included."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from indexer.index.queries import Reader
from tests.trees import Seen, directories, walk

ALL = ("kind", "size", "mtime", "allocated", "links", "mode", "uid", "gid", "inode")
"""What a row and a plain walk both know."""

_KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}


def disagreements(
    index: Path, root: Path, columns: Collection[str] = ALL, *, enter: Collection[bytes] = ()
) -> dict[str, Any]:
    """Return all that is wrong with the index at `index` of the tree at `root`; nothing, when all is well.

    Compared are every file's `columns`, the set of directories, what is counted for each directory and class, and the
    blocks charged, once an inode. `enter` names directories of other filesystems that belong to the store.
    """
    found = {path: tuple(getattr(seen, column) for column in columns) for path, seen in walk(root, enter=enter).items()}
    with Reader.open(index) as reader:
        known = {path: tuple(row[column] for column in columns) for path, row in rows(reader).items()}
        wrong: dict[str, Any] = {
            f"file {os.fsdecode(path)!r} (index, walk)": (known.get(path), found.get(path))
            for path in found.keys() | known.keys()
            if known.get(path) != found.get(path)
        }
        here = {reader.directory_path(row[0]) for row in _all(reader, "SELECT id FROM directory")}
        there = {b"", *directories(root, enter=enter)}
        if here != there:
            wrong["directories (index only, walk only)"] = here - there, there - here
        wrong |= _counters(reader)
        wrong |= _below(reader)
        charged = _all(reader, "SELECT coalesce(sum(allocated), 0) FROM usage")[0][0]
    used = sum(_blocks(walk(root, enter=enter).values()).values())
    if charged != used:
        wrong["blocks (charged, du)"] = charged, used
    return wrong


def _blocks(seen: Iterable[Seen]) -> dict[int, int]:
    """Count an inode once, as du does (the tests' filesystems do not share inode numbers)."""
    return {each.inode: each.allocated for each in seen}


def rows(reader: Reader) -> dict[bytes, dict[str, Any]]:
    """Return all rows by path, in the words of a plain walk."""
    return {
        file.path: {
            "kind": _KINDS.get(stat.S_IFMT(file.mode), "other"),
            "size": file.size,
            "mtime": file.mtime,
            "allocated": file.allocated,
            "links": file.links,
            "mode": stat.S_IMODE(file.mode),
            "uid": file.uid,
            "gid": file.gid,
            "inode": file.identity.inode,
        }
        for (directory_id,) in _all(reader, "SELECT id FROM directory")
        for file in reader.files_in(directory_id)
    }


def _counters(reader: Reader) -> dict[str, Any]:
    """Count again what triggers have kept, for each directory and class; look for orphans and charges."""
    counted = {tuple(row[:2]): tuple(row[2:]) for row in _all(reader, "SELECT * FROM usage WHERE files <> 0")}
    again = {
        tuple(row[:2]): tuple(row[2:])
        for row in _all(
            reader,
            "SELECT directory_id, coalesce(class_id, 0), count(*), sum(size), sum(blocks * charged) * 512 FROM file"
            " GROUP BY 1, 2",
        )
    }
    wrong: dict[str, Any] = {
        f"usage of directory {key[0]}, class {key[1]} (kept, counted)": (counted.get(key), again.get(key))
        for key in counted.keys() | again.keys()
        if counted.get(key) != again.get(key)
    }
    if empty := _all(reader, "SELECT * FROM usage WHERE files = 0 AND (bytes <> 0 OR allocated <> 0)"):
        wrong["usage of nothing"] = empty
    if orphans := _all(
        reader, "SELECT directory_id, name FROM file WHERE directory_id NOT IN (SELECT id FROM directory)"
    ):
        wrong["files without a directory"] = orphans
    uncharged = _all(
        reader,
        "SELECT d.filesystem_id, f.inode, sum(f.charged) FROM file f JOIN directory d ON d.id = f.directory_id"
        " GROUP BY 1, 2 HAVING sum(f.charged) <> 1",
    )
    if uncharged:
        wrong["inodes not charged exactly once"] = uncharged
    return wrong


def _below(reader: Reader) -> dict[str, Any]:
    """Add up again, where the index keeps it, what lies below each directory: for each class, all the way up."""
    if not _all(reader, "SELECT 1 FROM sqlite_master WHERE name = 'usage_below'"):
        return {}
    above = dict(_all(reader, "SELECT id, parent_id FROM directory"))
    again: Counter[tuple[int, int, str]] = Counter()
    for directory_id, class_id, *sums in _all(reader, "SELECT * FROM usage WHERE files <> 0"):
        at = above[directory_id]
        while at is not None:
            for what, value in zip(("files", "bytes", "allocated", "directories"), (*sums, 1), strict=True):
                again[at, class_id, what] += value
            at = above[at]
    kept: Counter[tuple[int, int, str]] = Counter()
    for directory_id, class_id, *sums in _all(
        reader, "SELECT directory_id, class_id, files, bytes, allocated, directories FROM usage_below"
    ):
        for what, value in zip(("files", "bytes", "allocated", "directories"), sums, strict=True):
            kept[directory_id, class_id, what] += value
    return {
        f"{key[2]} below directory {key[0]}, class {key[1]} (kept, counted)": (kept[key], again[key])
        for key in kept.keys() | again.keys()
        if kept[key] != again[key]
    }


def _all(reader: Reader, query: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = reader.connection.execute(query).fetchall()
    return found
