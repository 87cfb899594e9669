"""`init --adopt`: what the ledger has to be told of a tree that was copied, before the store gets its new id."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from indexer.config.trust import PATH
from indexer.enforce.adopt import Adopted, take_over
from indexer.enforce.ledger import Ledger

if TYPE_CHECKING:
    from indexer.store import Store

__all__ = ["Adopted", "take_over_trash"]


def take_over_trash(store: Store) -> Adopted:
    """Do `take_over` for a store that is about to be adopted; its locks are held. Raises LedgerError, FilesystemError.

    Its root is what is there now: it is not, and need not be, the tree that was initialised.
    """
    if not store.ledger_path.exists():
        return Adopted()
    root_fd = os.open(store.root, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Ledger.open(store.ledger_path) as ledger:
            return take_over(store=store, root_fd=root_fd, ledger=ledger, now=time.time)
    finally:
        os.close(root_fd)
