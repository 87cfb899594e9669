"""What stores keep in trees, told by name, owner and mode: `.indexer`, and `.indexer-ID` around a trash.

Whoever may write into a tree can call a directory so, and cannot make it root's or the caller's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from indexer.store.places import CONTROL

PREFIX = CONTROL.encode()
"""What all their names begin with."""
_NAME = re.compile(rb"\.indexer(?:-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?")


def is_own(name: bytes, uid: int, mode: int) -> bool:
    """Say whether a directory entry is some store's own, of whatever id, and so never a file of anybody's.

    Its name says so, it is a directory of root's or of the caller's, and nobody else can reach into it.
    """
    return (
        name.startswith(PREFIX)
        and _NAME.fullmatch(name) is not None
        and stat.S_ISDIR(mode)
        and uid in {0, os.geteuid()}
        and not mode & 0o077
    )


def trash_parent(store_id: str) -> str:
    """Return the name of the directory around a trash that is not in the control directory."""
    return f"{CONTROL}-{store_id}"


def has_trash_of(dir_fd: int, store_id: str) -> bool:
    """Say whether a directory (open) holds the one around the trash of the store with this id."""
    name = trash_parent(store_id)
    try:
        seen = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return is_own(os.fsencode(name), seen.st_uid, seen.st_mode)


def other_stores(directory: Path, ids: Collection[str]) -> list[str]:
    """Return the ids of the stores, other than `ids`, whose trash lies in a directory; costs a listing of it."""
    try:
        names = [os.fsencode(name) for name in os.listdir(directory) if name.startswith(f"{CONTROL}-")]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    found = []
    for name in sorted(names):
        matched = _NAME.fullmatch(name)
        if matched is None or matched[1].decode() in ids:
            continue
        try:
            seen = os.lstat(os.path.join(os.fsencode(directory), name))
        except FileNotFoundError:
            continue
        if is_own(name, seen.st_uid, seen.st_mode):
            found.append(matched[1].decode())
    return found
