"""The kernel's limits on inotify, where it serves the store: which sysctl stands in the way, and which number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.errors import IndexDatabaseError, IndexerError, NotScannedError
from indexer.reports.machine import Check
from indexer.syscalls.inotify import limit_of
from indexer.units import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.store import Store

ROOM = 0.9
"""Share of the watches that a store's directories may take: other programs of the same user need some too."""


def limit_checks(store: Store) -> Iterator[Check]:
    """Check watches against directories, and whether there was an instance to be had."""
    from indexer.watch.choose import choose_backend

    try:
        choice = choose_backend(store.root, store.config.store.filesystems, store.config.store.backend)
    except (IndexerError, OSError):
        return  # the check of the backend says why
    if choice.name == "inotify":
        yield _watches(store)
    elif "max_user_instances" in choice.reason:
        name, limit = limit_of("instances")
        yield Check(
            "inotify instances",
            ok=False,
            detail=f"all {limit:,} of this user are in use",
            remedy=_raise(name, limit * 4),
        )


def _watches(store: Store) -> Check:
    (name, limit), directories = limit_of("watches"), _directories(store)
    enough = directories <= limit * ROOM
    return Check(
        "inotify watches",
        ok=enough,
        detail=f"{count(directories, 'directory', 'directories')}, {limit:,} watches for all programs of this user",
        remedy="" if enough else _raise(name, 1 << (2 * directories).bit_length()),
    )


def _raise(name: str, value: int) -> str:
    setting = f"{name}={value}"
    return f"sysctl {setting}; and for later starts: echo {setting} > /etc/sysctl.d/50-indexer.conf"


def _directories(store: Store) -> int:
    from indexer.index.queries import Reader

    try:
        with Reader.open(store.index_path) as reader:
            return reader.totals().directories
    except (NotScannedError, IndexDatabaseError):
        return 0
