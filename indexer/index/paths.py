"""A bounded memory of where directories lie."""

from __future__ import annotations

PATH_BYTES = 32 << 20
"""Bytes of paths that are remembered: 5,000 levels of long names alone would be 3 GB."""
ENTRIES = 200_000


class Paths:
    """Paths by directory id; starts afresh when it is full."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def size(self) -> int:
        """Bytes of all paths."""
        return self._bytes

    def get(self, directory_id: int) -> bytes | None:
        """Return the path of a directory, None when it is not remembered."""
        return self._known.get(directory_id)

    def remember(self, directory_id: int, path: bytes) -> None:
        """Note the path of a directory."""
        if directory_id in self._known:
            return
        if self._bytes + len(path) > PATH_BYTES or len(self._known) >= ENTRIES:
            self.clear()
        self._known[directory_id] = path
        self._bytes += len(path)

    def clear(self) -> None:
        """Forget all: a directory has moved."""
        self._known.clear()
        self._bytes = 0
