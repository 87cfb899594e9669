"""Finds what a quota or a watermark took and somebody made again within `[ledger] thrash`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader


def note_thrash(reader: Reader, ledger: Ledger, now: int, within: int) -> int:
    """Record what was taken in the last `within` seconds and is there again; return how many files that is new of.

    The row of a file whose removal the index has yet to hear of still has its identity; what `restore` brought back no
    longer counts as taken.
    """
    found = []
    for taken in ledger.taken_for_room(now - within):
        file = reader.file(taken.path)
        if file is not None and file.identity != taken.identity and file.first_seen >= taken.at:
            found.append((file.first_seen, taken))
    if found:
        ledger.recreated(found)
    return len(found)
