"""From a store to an opened index: its filesystems, its policy, its exemptions."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from indexer.errors import FilesystemError
from indexer.index.apply import Index
from indexer.index.directories import Filesystem
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from indexer.index.classes import Policy
    from indexer.store import Store
    from indexer.watch.source import Watcher


def open_filesystems(store: Store) -> list[Filesystem]:
    """Open the root (identity verified) and the other filesystems that the configuration names.

    Where nothing is mounted, that filesystem is `absent`, and the others go on without it. Give it to
    `close_filesystems`. Raises FilesystemError for the root.
    """
    pinned = store.open_root()
    try:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=pinned)
    except OSError as error:
        raise FilesystemError(
            f"{store.root}: the root cannot be read: {error.strerror}", remedy="run as a user who may read it"
        ) from error
    finally:
        os.close(pinned)
    found = [_filesystem(1, root, b"")]
    for number, name in enumerate(store.config.store.filesystems, start=2):
        path = os.fsencode(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        except OSError as error:
            found.append(_absent(number, path, error.strerror or str(error)))
            continue
        filesystem = _filesystem(number, fd, path)
        if filesystem.dev == found[0].dev and not stat_fd(fd).mount_root:
            os.close(fd)
            filesystem = _absent(number, path, "nothing is mounted there")
        found.append(filesystem)
    return found


def close_filesystems(filesystems: list[Filesystem]) -> None:
    """Give back what `open_filesystems` opened."""
    for filesystem in filesystems:
        if filesystem.fd >= 0:
            os.close(filesystem.fd)
            filesystem.fd = -1


def open_index(
    store: Store, filesystems: list[Filesystem], policy: Policy, watcher: Watcher | None, now: float
) -> Index:
    """Open the write side of the index. The caller holds the store's service lock. Raises IndexDatabaseError."""
    config, exempt = store.config.path, store.exempt()
    inside = config is not None and config.parent == store.root
    if config is not None and inside:
        # By its name: an editor replaces the inode, and the next new file may get the one that came free.
        with suppress(FileNotFoundError):
            found = os.stat(config)
            exempt -= {(found.st_dev, found.st_ino)}
    return Index(
        store.index_path,
        filesystems,
        policy=policy,
        watcher=watcher,
        exempt=exempt,
        own_file=os.fsencode(config.name) if config is not None and inside else None,
        access_resolution=store.config.store.access_resolution,
        ignores_readers=bool(store.config.store.ignore_readers),
        now=now,
    )


def _filesystem(number: int, fd: int, path: bytes) -> Filesystem:
    return Filesystem(number, fd, stat_fd(fd).dev, os.statvfs(fd).f_fsid, path)


def _absent(number: int, path: bytes, why: str) -> Filesystem:
    return Filesystem(number, -1, (0, 0), 0, path, absent=why)
