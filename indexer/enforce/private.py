"""The store's own files: 0600 and 0700 whatever the umask was, and belonging to whoever removes."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from indexer.config.trust import open_private_directory, shown
from indexer.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indexer.enforce.places import StoreLike

_OTHERS = 0o077


class Exposed(NamedTuple):
    """A file or directory of the store that others can reach."""

    path: Path
    mode: int


def exposed(store: StoreLike, *, mend: bool = False) -> Iterator[Exposed]:
    """Yield what others can reach of the control directory, the state and the trashes; with `mend` close it first.

    Sockets are passed by: `[service] mode` says who may speak to the service. A directory that is not ours is passed
    by too: opening the store refuses it. Raises OSError.
    """
    folders = dict.fromkeys([store.control, store.state, *map(store.trash_path, ("", *store.config.store.filesystems))])
    for folder in folders:
        try:
            fd = open_private_directory(folder)
        except (FileNotFoundError, TrustError):
            continue
        try:
            yield from _closed(fd, ".", folder, mend=mend)
            if folder.name != "trash":  # what lies in there keeps the mode that it comes back with
                for name in sorted(set(os.listdir(fd)) - {one.name for one in folders if one.parent == folder}):
                    yield from _closed(fd, name, folder / name, mend=mend)
        finally:
            os.close(fd)


def _closed(dir_fd: int, name: str, path: Path, *, mend: bool) -> Iterator[Exposed]:
    with suppress(FileNotFoundError):
        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not (stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode)) or not st.st_mode & _OTHERS:
            return
        if mend:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                again = os.fstat(fd)
                if again.st_nlink == 1 or stat.S_ISDIR(again.st_mode):
                    os.fchmod(fd, stat.S_IMODE(again.st_mode) & ~_OTHERS)
            finally:
                os.close(fd)
        yield Exposed(path, stat.S_IMODE(st.st_mode))


def names(found: list[Exposed]) -> str:
    """Return the first few for a message."""
    return ", ".join(f"{shown(one.path)} ({one.mode:04o})" for one in found[:5])
