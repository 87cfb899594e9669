"""A store: one logical tree, its marker, its control directory, its locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.store.identity import RootChangedError, RootMissingError
from indexer.store.locate import is_root, locate_store, nearest_store, store_of
from indexer.store.open import open_store
from indexer.store.places import real_directory
from indexer.store.store import Store

if TYPE_CHECKING:
    from indexer.store.initialise import initialise_store

__all__ = [
    "RootChangedError",
    "RootMissingError",
    "Store",
    "initialise_store",
    "is_root",
    "locate_store",
    "nearest_store",
    "open_store",
    "real_directory",
    "store_of",
]


def __getattr__(name: str) -> Any:
    """Import what makes stores when somebody makes one: most commands only open theirs (PEP 562)."""
    if name != "initialise_store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from indexer.store.initialise import initialise_store

    return initialise_store
