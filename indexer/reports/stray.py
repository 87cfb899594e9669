"""Objects in the trash that the ledger knows nothing of: nothing ever destroys them, so somebody must be told."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from indexer.errors import LedgerError
from indexer.reports.machine import Check
from indexer.reports.reading import open_ledger
from indexer.units import count, show_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indexer.store import Store

NAME = "trash"
SETTLED = 3_600
"""Seconds after which an object (by its ctime, which a rename sets) belongs to no run that is still at work."""


def trash_check(store: Store) -> Check:
    """Compare the trash of every filesystem with the ledger."""
    try:
        ledger = open_ledger(store)
        if ledger is None:
            known: set[str | None] = set()
        else:
            with ledger:
                known = {action.trash_name for action in ledger.trash()}
    except LedgerError as error:
        return Check(NAME, ok=False, detail=error.message, remedy=error.remedy)
    places = [store.trash_path(name) for name in ("", *store.config.store.filesystems)]
    stray = [path for place in places for path in _settled(place) if path.name not in known]
    if not stray:
        return Check(NAME, ok=True, detail=f"{count(len(known), 'object')}, all of them in the ledger", remedy="")
    return Check(
        NAME,
        ok=False,
        detail=f"{count(len(stray), 'object')} of which the ledger knows nothing,"
        f" such as {show_name(os.fsencode(stray[0]))}",
        remedy="they came by a ledger that was lost or put back: look at them, keep what you want, remove the rest",
    )


def _settled(trash: Path) -> Iterator[Path]:
    """Yield what has lain in a trash for a while; nothing where there is none, or none that we may read."""
    try:
        entries = list(os.scandir(trash))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        try:
            settled = entry.stat(follow_symlinks=False).st_ctime < time.time() - SETTLED
        except FileNotFoundError:
            continue  # restored or purged just now
        if settled:
            yield trash / entry.name
