"""What is mounted below a directory, and when that changes: no kernel queue reports it, the mount table does."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

TABLE = "/proc/self/mountinfo"


def mounts_below(path: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """Return the mount points below `path`, relative to it, each with the ids of what is mounted there.

    From proc_pid_mountinfo(5), as this process sees it; nothing on platforms without it.
    """
    prefix = os.path.realpath(path).rstrip(b"/") + b"/"
    found: dict[bytes, tuple[bytes, ...]] = {}
    with suppress(FileNotFoundError), open(TABLE, "rb") as table:
        for line in table:
            number, _, _, _, escaped, *_ = line.split()
            point = escaped.decode("unicode_escape").encode("latin-1")
            if point.startswith(prefix):
                name = point[len(prefix) :]
                found[name] = (*found.get(name, ()), number)
    return found


class MountTable:
    """Tells which places below a directory were mounted on, unmounted, or mounted anew."""

    def __init__(self, root: bytes) -> None:
        """Begin with what is mounted now."""
        self._root = root
        self._poll: select.poll | None = None
        self._fd = -1
        if sys.platform == "linux":
            with suppress(FileNotFoundError):  # /proc is not mounted
                self._fd = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
                self._poll = select.poll()
                self._poll.register(self._fd, select.POLLPRI)
        self._known = mounts_below(root)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self._poll = -1, None

    def changes(self) -> list[bytes]:
        """Return the mount points that changed since the last call; 2 µs while nothing has.

        The kernel marks the table as changed before the system call returns that mounted or unmounted something.
        """
        if self._poll is None or not self._poll.poll(0):
            return []
        found = mounts_below(self._root)
        changed = [point for point in found.keys() | self._known.keys() if found.get(point) != self._known.get(point)]
        self._known = found
        return sorted(changed)
