"""From a store to a session: filesystems, watcher, index, in this order, and given back in the other."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from indexer.index.opening import close_filesystems, open_filesystems, open_index
from indexer.service.daemon import Session
from indexer.service.own_reads import OwnReads
from indexer.service.policy import index_policy
from indexer.service.supervise import Canary, CookieCanary, RootWatch, Supervisor
from indexer.store.identity import MARKER
from indexer.watch.choose import choose_backend, make_watcher
from indexer.watch.mount_table import MountTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indexer.store import Store
    from indexer.watch.source import Watcher


@contextmanager
def open_session(store: Store, *, clock: Callable[[], float], backend: str | None = None) -> Iterator[Session]:
    """Open what the service needs; the watcher listens before the index has listed anything.

    `backend` overrides the configuration's. Raises UsageError (backend), FilesystemError and NoStoreError (root),
    IndexDatabaseError, OSError.
    """
    with ExitStack() as stack:
        table = MountTable(store.root_bytes)  # before anything is opened: what changes from now on is told
        stack.callback(table.close)
        filesystems = open_filesystems(store)
        stack.callback(close_filesystems, filesystems)
        wanted = backend or store.config.store.backend
        present = [filesystem for filesystem in filesystems if not filesystem.absent]
        choice = choose_backend(store.root, [os.fsdecode(each.path) for each in present[1:]], wanted)
        mounts = [filesystem.fd for filesystem in present]
        watcher = make_watcher(
            choice,
            store.root,
            store.control,
            mounts,
            clock=clock,
            ignore_readers=store.config.store.ignore_readers,
            access_resolution=store.config.store.access_resolution,
        )
        watcher.start()
        stack.callback(watcher.stop)
        index = open_index(store, filesystems, index_policy(store.config), watcher, clock())
        stack.callback(index.close)
        if (hearing := index.hearing) is not None:
            stack.callback(lambda: hearing.close(int(clock())))
        index.on_access = own_reads = OwnReads(index, store.ledger_path, clock)
        stack.callback(own_reads.close)
        root = RootWatch(store.root, filesystems[0].fd, lambda: os.close(store.open_root()), store.control / MARKER)
        canary = _canary(store.root, watcher)
        yield Session(watcher, index, Supervisor(watcher, root, canary, table))


def _canary(root: Path, watcher: Watcher) -> Canary | None:
    """Return what proves that the watcher hears; None where nothing is listened to."""
    if watcher.name == "poll":
        return None
    if watcher.name == "native":
        from indexer.watch.native import NativeWatcher

        assert isinstance(watcher, NativeWatcher)  # noqa: S101 - what the name means
        return CookieCanary(root, watcher)
    return Canary(root, watcher)
