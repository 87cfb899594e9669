"""Whether the index says what is there: a sample of directories, chosen by chance, compared with the tree itself.

It asks nothing of the service, so it can be believed about it. What has happened within the last moments may not be in
the index yet and shows as a difference: `indexer settle` first, for exactness.
"""

from __future__ import annotations

import errno
import os
import random
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from indexer.index.rows import bounded
from indexer.policy.classes import Classifier
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.index.queries import Reader
    from indexer.policy.classes import DirectoryRules
    from indexer.records import IndexedFile
    from indexer.store import Store

SAMPLE = 5_000
"""Files compared, unless told otherwise."""
PER_DIRECTORY = 500
"""Files compared in one directory; larger ones are not listed for names that the index misses."""
KINDS = {
    "missed": "in the tree, not in the index",
    "ghost": "in the index, not in the tree",
    "wrong": "another inode, size, time or mode",
    "late": "only the allocated blocks differ: the filesystem placed them after the close",
    "unreadable": "could not be looked at",
}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


@dataclass(slots=True)
class _Found:
    checked: int = 0
    names: dict[str, list[bytes]] = field(default_factory=lambda: {kind: [] for kind in KINDS})


def drift_rows(store: Store, reader: Reader, *, top: int = SAMPLE) -> list[dict[str, Any]]:
    """Compare about `top` files, and return one row for each kind of difference of `KINDS`.

    `files` of `checked` differ, `share` is the part (0 to 1), `example` is one of them.
    """
    found = _Found()
    classifier = Classifier(store.config.classes, store.config.store.ignore)
    exempt = store.exempt()
    root_fd = store.open_root()
    try:
        for directory_id in _directories(reader):
            path = reader.directory_path(directory_id)
            if path is None:
                continue
            _compare(found, reader, directory_id, path, classifier.at(path), exempt, root_fd)
            if found.checked >= top:
                break
    finally:
        os.close(root_fd)
    return [
        {
            "difference": kind,
            "files": len(names),
            "checked": found.checked,
            "share": len(names) / found.checked if found.checked else 0.0,
            "meaning": KINDS[kind],
            "example": text_of(names[0]) if names else None,
        }
        for kind, names in found.names.items()
    ]


def _directories(reader: Reader) -> Iterator[int]:
    """Yield listed directories, each once, in an order of chance; with many of them, a walk from places of chance."""
    (last,) = reader.connection.execute("SELECT max(id) FROM directory").fetchone()
    seen: set[int] = set()
    for start in [*random.sample(range(1, last + 1), min(last, SAMPLE)), 1]:
        rows = reader.connection.execute(
            "SELECT id FROM directory WHERE id >= ? AND listed_ns <> 0 AND problem IS NULL ORDER BY id LIMIT 4",
            (start,),
        ).fetchall()
        for (directory_id,) in rows:
            if directory_id not in seen:
                seen.add(directory_id)
                yield directory_id


def _compare(
    found: _Found,
    reader: Reader,
    directory_id: int,
    path: bytes,
    rules: DirectoryRules,
    exempt: frozenset[tuple[int, int]],
    root_fd: int,
) -> None:
    indexed = {
        file.name: file for _, file in zip(range(PER_DIRECTORY + 1), reader.files_in(directory_id), strict=False)
    }
    whole = len(indexed) <= PER_DIRECTORY
    try:
        fd = os.open(path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    except OSError as error:
        kind = "ghost" if error.errno in _GONE else "unreadable"
        found.names[kind] += [file.path for file in indexed.values()]
        found.checked += len(indexed)
        return
    try:
        for file in indexed.values():
            found.checked += 1
            if (difference := _difference(file, fd)) is not None:
                found.names[difference].append(file.path)
        if whole:
            for name in _unknown(fd, indexed.keys(), rules, exempt):
                found.checked += 1
                found.names["missed"].append(path + b"/" + name if path else name)
    finally:
        os.close(fd)


def _difference(file: IndexedFile, fd: int) -> str | None:
    """Return what is different, None when nothing is."""
    try:
        now = os.stat(file.name, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        return "ghost" if error.errno in _GONE else "unreadable"
    if (now.st_ino, now.st_size, bounded(now.st_mtime_ns // 10**9), now.st_mode, now.st_nlink) != (
        file.identity.inode,
        file.size,
        file.mtime,
        file.mode,
        file.links,
    ):
        return "wrong"
    return "late" if now.st_blocks * 512 != file.allocated else None


def _unknown(fd: int, known: Any, rules: DirectoryRules, exempt: frozenset[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the files of a directory that should be in the index and are not."""
    for name in os.listdir(fd):
        raw = os.fsencode(name)
        if raw in known:
            continue
        try:
            at = os.stat(raw, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(at.st_mode) and (at.st_dev, at.st_ino) not in exempt and not rules.ignored(raw, False):
            yield raw
