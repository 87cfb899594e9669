"""An adopted store has a new id, and the directory around each of its trashes is named after the id: it is renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.config.trust import PATH, check_owner, describe, shown
from indexer.errors import FilesystemError, TrustError
from indexer.store.filesystems import filesystems
from indexer.store.own import trash_parent
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.sync import sync_filesystem

if TYPE_CHECKING:
    from indexer.store.identity import Marker


def move_trash(root: Path, names: Sequence[str], marker: Marker) -> None:
    """Rename what lies around the trash of the id that the store had before, on each of its filesystems `names`.

    Where the new id has one already (`--adopt` did not always do this) what lies in the one goes into the other.
    Nothing is followed, and nothing replaced. Raises TrustError when others could reach into it, FilesystemError.
    """
    if not marker.adopted_from:
        return
    root_fd = os.open(root, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, base in filesystems(names, root_fd):
            _move(base, root / name, trash_parent(marker.adopted_from), trash_parent(marker.id))
    finally:
        os.close(root_fd)


def _move(base: int, directory: Path, former: str, name: str) -> None:
    path = directory / former
    source = _open(base, former, path)
    if source is None:
        return
    try:
        try:
            # rename(2) replaces an empty directory, and nothing else, by a directory.
            os.rename(former, name, src_dir_fd=base, dst_dir_fd=base)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise _refused(path, error) from error
            _merge(base, source, path, directory / name)
        else:
            seen, there = os.fstat(source), os.stat(name, dir_fd=base, follow_symlinks=False)
            if (seen.st_dev, seen.st_ino) != (there.st_dev, there.st_ino):
                raise FilesystemError(
                    f"{shown(path)} was exchanged for something else while it was renamed",
                    remedy=f"look for the trash in {shown(directory)}, and who has moved it; then adopt again",
                )
        sync_filesystem(source)
    finally:
        os.close(source)


def _open(base: int, name: str, path: Path) -> int | None:
    """Open a directory around a trash, or a trash, if only root or the caller reaches into it; None: there is none."""
    try:
        fd = open_beneath(base, os.fsencode(name))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, error) from error
    seen = os.fstat(fd)
    try:
        check_owner(seen, path)
        if seen.st_mode & 0o077:
            raise TrustError(f"{describe(seen, path)}: others may reach into it", remedy=f"chmod 0700 {shown(path)}")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _merge(base: int, source: int, path: Path, into: Path) -> None:
    """Move what lies in the trash of one into that of the other, and remove the empty one."""
    target = _open(base, into.name, into)
    if target is None:
        raise FilesystemError(f"{shown(into)} has gone meanwhile", remedy="adopt again")
    try:
        _merge_trash(source, target, path, into)
        os.rmdir(path.name, dir_fd=base)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        os.close(target)


def _merge_trash(source: int, target: int, path: Path, into: Path) -> None:
    trash = _open(source, "trash", path / "trash")
    if trash is None:
        return
    try:
        there = _open(target, "trash", into / "trash")
        if there is None:
            os.rename("trash", "trash", src_dir_fd=source, dst_dir_fd=target)
            return
        try:
            for name in os.listdir(trash):
                rename_noreplace(trash, os.fsencode(name), there, os.fsencode(name))
        finally:
            os.close(there)
        os.rmdir("trash", dir_fd=source)
    finally:
        os.close(trash)


def _refused(path: Path, error: OSError) -> FilesystemError:
    return FilesystemError(
        f"{shown(path)}, the trash of the store before it was adopted, cannot be taken over: {error.strerror}",
        remedy="look at what lies there and at what stands in its way; then: indexer init --adopt, again",
    )
