"""How full each filesystem of a store is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from indexer.policy.watermark import Room

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader
    from indexer.rules import Watermark

ROUNDS = 5
"""Plans that are made for one shortage, at most."""


def taken_by(mark: Watermark, reader: Reader, ledger: Ledger | None) -> int | None:
    """Return how many bytes of the disk the store holds: its files by the index, and its trash by the ledger.

    None where no capacity is declared: then nobody asks, and nothing is added up.
    """
    if mark.capacity is None:
        return None
    return reader.totals().allocated + (ledger.trash_totals()[1] if ledger is not None else 0)


def room_of(fd: int) -> Room:
    """Return how full the filesystem of a descriptor is."""
    found = os.fstatvfs(fd)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Room(used, found.f_bavail * found.f_frsize, found.f_files, found.f_ffree)
