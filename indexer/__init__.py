"""Watches a storage tree, indexes every file in SQLite, and expires what its policy says.

`from indexer import StorageManager` is an application's own handle; the `indexer` command is thin over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer._version import __version__

if TYPE_CHECKING:
    from indexer.manager import StorageManager

__all__ = ["StorageManager", "__version__"]


def __getattr__(name: str) -> object:
    """Import the manager when it is first asked for: `indexer plan` starts faster without it (PEP 562)."""
    if name == "StorageManager":
        from indexer.platforms import require_posix

        require_posix()
        from indexer.manager import StorageManager

        return StorageManager
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
