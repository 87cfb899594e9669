"""Our own reads are no use: a removal opens the files it looks at, and closing them is a read-only close too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.enforce.ledger import Ledger
from indexer.errors import LedgerError
from indexer.index.directories import DetachedError
from indexer.index.rows import Key, name_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indexer.index.apply import Index

AFTERWARDS = 60
"""Seconds after a run's end in which late events about its files may still come."""


class OwnReads:
    """Answers `Index.on_access`: False for a name that a run of the last minute had in its hands and left."""

    def __init__(self, index: Index, ledger_path: Path, clock: Callable[[], float]) -> None:
        self._index = index
        self._path = ledger_path
        self._clock = clock
        self._ledger: Ledger | None = None
        self._asked_at = 0
        self._touched: set[bytes] = set()

    def __call__(self, directory_id: int, name: Key) -> bool:
        """Say whether a use counts. Without a readable ledger it does: a file is then kept longer, not shorter."""
        now = int(self._clock())
        if now != self._asked_at:
            self._asked_at = now
            self._touched = self._look(now)
        if not self._touched:
            return True
        try:
            directory = self._index.directories.path(directory_id)
        except DetachedError:
            return True
        path = directory + b"/" + name_of(name) if directory else name_of(name)
        return path not in self._touched

    def close(self) -> None:
        """Give the connection back."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _look(self, now: int) -> set[bytes]:
        try:
            if self._ledger is None:
                if not self._path.exists():
                    return set()
                self._ledger = Ledger.open(self._path, read_only=True)
            return set(self._ledger.touched(now - AFTERWARDS))
        except LedgerError:
            self.close()
            return set()
