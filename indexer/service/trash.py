"""What lies in the trash, bringing it back, and destroying it, for whoever holds no lock yet."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.enforce.ledger import Ledger
from indexer.enforce.restore import restore
from indexer.enforce.trash import PurgeResult, purge_trash, purgeable, unprotected
from indexer.enforce.would_restore import would_restore
from indexer.errors import RefusedError
from indexer.service.wall import moment, stepped
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.enforce.rows import Action
    from indexer.store import Store

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def trash_document(store: Store) -> dict[str, Any]:
    """Return the keys of `trash list --json`: `files`, `bytes` (allocated) and `items`. Raises LedgerError."""
    if not store.ledger_path.exists():
        return {"files": 0, "bytes": 0, "items": []}
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        items = [
            {
                "path": text_of(action.path),
                "class": action.class_name,
                "bytes": action.allocated,
                "run": action.run,
                "at": action.at,
                "restorable_until": action.restorable_until,
            }
            for action in ledger.trash()
        ]
    return {"files": len(items), "bytes": sum(int(item["bytes"] or 0) for item in items), "items": items}


def restore_here(
    store: Store,
    clock: Callable[[], float],
    *,
    paths: Sequence[bytes] = (),
    run: int | None = None,
    to: str | os.PathLike[str] | None = None,
    wait: float = 0.0,
) -> dict[str, Any]:
    """Bring files back (`paths` relative to the root, or all of a run), or below the directory `to`.

    Waits up to `wait` seconds for another run. Raises BusyError, LedgerError, FilesystemError, OSError.
    """
    with ExitStack() as stack:
        stack.enter_context(store.run_lock(wait=wait))
        ledger = stack.enter_context(Ledger.open(store.ledger_path))
        root_fd = _closing(stack, store.open_root())
        to_fd = None if to is None else _closing(stack, os.open(to, _DIRECTORY))
        return restore(
            store=store, root_fd=root_fd, ledger=ledger, now=clock, paths=paths, run=run, to_fd=to_fd
        ).as_json()


def would_restore_here(
    store: Store,
    *,
    paths: Sequence[bytes] = (),
    run: int | None = None,
    to: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return what `restore_here` would, without doing it. Raises LedgerError, FilesystemError, OSError."""
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(store.ledger_path, read_only=True))
        root_fd = _closing(stack, store.open_root())
        there = None if to is None else next(at for at in (Path(to), *Path(to).absolute().parents) if at.is_dir())
        to_fd = None if there is None else _closing(stack, os.open(there, _DIRECTORY))
        fresh = there is not None and there != Path(to or "")
        found = would_restore(
            store=store, root_fd=root_fd, ledger=ledger, paths=paths, run=run, to_fd=to_fd, fresh=fresh
        )
        return {**found.as_json(), "dry_run": True}


def _closing(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def empty_here(
    store: Store, clock: Callable[[], float], *, older_than: int | None = None, wait: float = 0.0
) -> dict[str, Any]:
    """Destroy what lies in the trash, or only what was put there more than `older_than` seconds ago.

    Waits up to `wait` seconds for another run. Raises BusyError, LedgerError, FilesystemError; RefusedError for an age
    by a clock that has stepped.
    """
    with store.run_lock(wait=wait), Ledger.open(store.ledger_path) as ledger:
        refusal = None if older_than is None else stepped(ledger, store.config.guards, moment())
        if refusal is not None:
            raise RefusedError(refusal.message, guard=refusal.guard, remedy=refusal.remedy)
        root_fd = store.open_root()
        try:
            result = purge_trash(
                store=store,
                root_fd=root_fd,
                ledger=ledger,
                now=clock,
                older_than=older_than,
                everything=older_than is None,
            )
        finally:
            os.close(root_fd)
    return {**result.as_json(), "dry_run": False}


def would_empty(store: Store, clock: Callable[[], float], *, older_than: int | None = None) -> dict[str, Any]:
    """Return what `empty_here` would destroy, by the ledger. Raises LedgerError."""
    chosen: list[Action] = []
    kept = Counter[str]()
    if store.ledger_path.exists():
        with Ledger.open(store.ledger_path, read_only=True) as ledger:
            chosen = purgeable(ledger, now=int(clock()), older_than=older_than, everything=older_than is None)
            chosen = list(unprotected(ledger, chosen, clock(), kept))
    freed = sum(action.allocated for action in chosen)
    return {**PurgeResult(None, len(chosen), freed, kept=kept).as_json(), "dry_run": True}
