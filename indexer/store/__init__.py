"""A store: one logical tree, its marker, its control directory, its locks."""

from __future__ import annotations

from indexer.store.identity import RootChangedError, RootMissingError
from indexer.store.initialise import initialise_store
from indexer.store.locate import is_root, locate_store, nearest_store, store_of
from indexer.store.open import open_store
from indexer.store.places import real_directory
from indexer.store.store import Store

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
