"""From a store to a session: filesystems, watcher, index, in this order, and given back in the other."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from indexer.index.opening import open_filesystems, open_index
from indexer.service.daemon import Session
from indexer.service.own_reads import OwnReads
from indexer.service.policy import index_policy
from indexer.service.supervise import Canary, RootWatch, Supervisor
from indexer.watch.choose import choose_backend, make_watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.store import Store


@contextmanager
def open_session(store: Store, *, clock: Callable[[], float], backend: str | None = None) -> Iterator[Session]:
    """Open what the service needs; the watcher listens before the index has listed anything.

    `backend` overrides the configuration's. Raises UsageError (backend), FilesystemError and NoStoreError (root),
    IndexDatabaseError, OSError.
    """
    with ExitStack() as stack:
        filesystems = open_filesystems(store)
        for filesystem in filesystems:
            stack.callback(os.close, filesystem.fd)
        wanted = backend or store.config.store.backend
        choice = choose_backend(store.root, store.config.store.filesystems, wanted)
        mounts = [filesystem.fd for filesystem in filesystems]
        watcher = make_watcher(choice, store.root, store.control, mounts, clock=clock)
        watcher.start()
        stack.callback(watcher.stop)
        index = open_index(store, filesystems, index_policy(store.config), watcher, clock())
        stack.callback(index.close)
        index.on_access = own_reads = OwnReads(index, store.ledger_path, clock)
        stack.callback(own_reads.close)
        # The native observer hears no opens; its cookies tell whether it is deaf. Polling hears nothing.
        canary = Canary(store.root, watcher) if choice.name not in {"native", "poll"} else None
        root = RootWatch(store.root, filesystems[0].fd)
        yield Session(watcher, index, Supervisor(watcher, root, canary))
