"""The quick pass: after any gap, find the directories whose names changed, by their times alone.

A change of names sets a directory's mtime and ctime (0 of 3,000 missed on five filesystems, measured). What it cannot
see (in-place writes, chmod, utime) is left to verification.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID, Rescan
from indexer.index.directories import DetachedError, GoneError
from indexer.index.rows import name_of, signed
from indexer.syscalls.stat import stat_fd, times_at
from indexer.watch.source import DirectoryWatcher

if TYPE_CHECKING:
    from indexer.index.apply import Index

MARGIN_NS = 10_000_000
"""A directory listed so soon after its mtime may have changed once more within one tick of the kernel's clock."""
PAGE = 5_000


def quick_pass(index: Index) -> Iterator[int]:
    """Put every directory that changed into the index's backlog; yield now and then how many were looked at.

    Where each directory has to be watched, it is, before it is looked at: what happens from then on raises events.
    The index must not be used for anything else while this runs between two yields (one writer, one thread).
    """
    watcher = index.watcher if isinstance(index.watcher, DirectoryWatcher) else None
    _look_at_root(index, watcher)
    looked, last = 1, (0, 0)
    while True:
        rows = index.connection.execute(
            "SELECT parent_id, id, name, inode, mtime_ns, ctime_ns, listed_ns, problem, handle"
            " FROM directory WHERE parent_id IS NOT NULL AND (parent_id, id) > (?, ?)"
            " ORDER BY parent_id, id LIMIT ?",
            (*last, PAGE),
        ).fetchall()
        if not rows:
            return
        for parent_id, children in groupby(rows, key=lambda row: row[0]):
            _look_at_children(index, watcher, parent_id, list(children))
        index.directories.close_all()
        last = rows[-1][0], rows[-1][1]
        looked += len(rows)
        yield looked


def look_again(index: Index, directory_ids: Iterable[int]) -> None:
    """Do the same with single directories that have no watch: doubt those that changed, or that can be watched now."""
    watcher = index.watcher if isinstance(index.watcher, DirectoryWatcher) else None
    for directory_id in directory_ids:
        row = index.connection.execute(
            "SELECT mtime_ns, ctime_ns, listed_ns FROM directory WHERE id = ?", (directory_id,)
        ).fetchone()
        if row is None:
            continue
        try:
            fd = index.directories.open(directory_id)
            if watcher is not None:
                watcher.register(directory_id, fd, index.directories.key(directory_id))
            own = stat_fd(fd)
        except (GoneError, DetachedError, OSError):
            index.request_rescan(Rescan(directory_id, tree=False, reason="changed"))  # its listing finds out
            continue
        watched = watcher is not None and directory_id not in watcher.unwatched
        if watched or _changed(own.mtime_ns, own.ctime_ns, *row):
            index.request_rescan(Rescan(directory_id, tree=False, reason="changed"))
    index.directories.close_all()


def _look_at_root(index: Index, watcher: DirectoryWatcher | None) -> None:
    mtime, ctime, listed = index.connection.execute(
        "SELECT mtime_ns, ctime_ns, listed_ns FROM directory WHERE id = ?", (ROOT_ID,)
    ).fetchone()
    root = index.directories.filesystems[1].fd
    if watcher is not None:
        watcher.register(ROOT_ID, root, index.directories.key(ROOT_ID))
    own = stat_fd(root)
    if _changed(own.mtime_ns, own.ctime_ns, mtime, ctime, listed):
        index.request_rescan(Rescan(ROOT_ID, tree=False, reason="changed"))


def _look_at_children(
    index: Index, watcher: DirectoryWatcher | None, parent_id: int, children: list[tuple[Any, ...]]
) -> None:
    try:
        fd = index.directories.open(parent_id)
        dev = index.directories.filesystem_of(parent_id).dev
    except (GoneError, DetachedError, OSError):
        return  # its own parent's times tell that it went away; one that cannot be read is tried by its own row
    for _, directory_id, name, inode, mtime, ctime, listed, problem, handle in children:
        try:
            known = name_of(name)
            if watcher is not None and handle is not None:  # watched before it is looked at: nothing can be missed
                watcher.register_below(directory_id, fd, known)
            inode_now, mtime_now, ctime_now, dev_now, mounted = times_at(fd, known)
        except OSError:
            index.request_rescan(Rescan(parent_id, tree=False, reason="changed"))
            continue
        another = signed(inode_now) != inode
        if watcher is not None and another:
            watcher.forget(directory_id)  # what stands in its place is left to the listing of its parent, which follows
        mounted = mounted or dev_now != dev
        other_kind = mounted != (problem == errno.EXDEV) and not _ours(index, dev_now)
        named_now = mounted and problem == errno.EXDEV and _named(index, parent_id, known)
        if other_kind or named_now or (not mounted and another):
            index.request_rescan(Rescan(parent_id, tree=False, reason="changed"))
        elif problem != errno.EXDEV and (problem is not None or _changed(mtime_now, ctime_now, mtime, ctime, listed)):
            index.request_rescan(Rescan(directory_id, tree=False, reason="changed"))


def _ours(index: Index, dev: tuple[int, int]) -> bool:
    return any(filesystem.dev == dev for filesystem in index.directories.filesystems.values())


def _named(index: Index, parent_id: int, name: bytes) -> bool:
    """What is mounted at this place belongs to the store by now."""
    base = index.directories.path(parent_id)
    path = base + b"/" + name if base else name
    return any(each.named and each.path == path for each in index.directories.filesystems.values())


def _changed(mtime: int, ctime: int, stored_mtime: int, stored_ctime: int, listed: int) -> bool:
    if not listed or mtime != stored_mtime or ctime != stored_ctime:
        return True
    return listed - ctime < MARGIN_NS  # the mtime may have been set to any time; the ctime tells when
