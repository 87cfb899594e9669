"""What a recursive watch begins at: its directory, the mounts below it, and what symbolic links lead to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from indexer.watch.mount_table import mounts_below
from indexer.watch.places import key_of


@dataclass(slots=True)
class Root:
    """A directory, open, and the path under which what lies below it is reported."""

    path: bytes
    key: bytes
    fd: int

    def close(self) -> None:
        """Give the descriptor back; it pins the directory and its mount."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def roots_of(path: bytes, *, recursive: bool, follow: bool) -> list[Root]:
    """Return where to begin, the watched directory itself first. Raises OSError for that one.

    With `follow` the tree is walked once for symbolic links to directories.
    """
    found: dict[bytes, Root] = {}
    waiting = [path]
    while waiting:
        place = waiting.pop()
        try:
            root = _open(place)
        except OSError:
            if not found:
                raise
            continue  # a link or mount that leads nowhere, or where we may not go
        if root.key in found:
            root.close()
            continue
        found[root.key] = root
        if recursive:
            waiting += [os.path.join(place, each) for each in mounts_below(place)]
            if follow:
                waiting += _links_below(place)
    return list(found.values())


def _open(path: bytes) -> Root:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return Root(path, key_of(fd), fd)
    except OSError:
        os.close(fd)
        raise


def _links_below(path: bytes) -> Iterator[bytes]:
    """Yield the symbolic links to directories below a directory."""
    for directory, names, _ in os.walk(path):
        for name in names:
            place = os.path.join(directory, name)
            if os.path.islink(place):
                yield place
