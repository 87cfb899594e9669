"""The state of a store for people and programs, whether a service runs or not."""

from __future__ import annotations

import errno
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from indexer.enforce.ledger import Ledger
from indexer.errors import IndexerError, NotScannedError, ServiceError
from indexer.index.queries import Reader
from indexer.index.questions import due_totals
from indexer.index.views import own_directories
from indexer.service.client import ANSWER_SECONDS, NoServiceError, request
from indexer.service.jobs import rows_without_service
from indexer.service.noticing import notices_document
from indexer.service.state import Snapshot
from indexer.units import text_of

if TYPE_CHECKING:
    from indexer.store import Store


def status(store: Store, now: float, timeout: float = ANSWER_SECONDS) -> dict[str, Any]:
    """Return the keys of CONTRACT §4 `status`. `now` is Unix seconds, `timeout` seconds for the service to answer.

    Without a service the index is read directly. Raises NotScannedError when there is no complete index and no
    service that makes one, IndexDatabaseError when it is damaged.
    """
    told = True
    try:
        state = request(store, "status", timeout)
    except ServiceError as error:
        told = False
        backend, reason = backend_here(store)
        stopped = isinstance(error, NoServiceError)
        why = () if stopped else ("not_answering",)
        state = asdict(
            Snapshot(
                "stopped" if stopped else "degraded", why, (error.message,), backend=backend, backend_reason=reason
            )
        )
    document = {
        "store": str(store.root),
        "id": store.id,
        "mode": store.config.store.mode,
        "jobs": rows_without_service(store) if state["state"] == "stopped" else [],
        **state,
        "trash_bytes": _trash_bytes(store),
        "notices": notices_document(store),
    }
    try:
        with Reader.open(store.index_path) as reader:
            if document["state"] == "stopped" and not reader.complete:
                raise NotScannedError(
                    f"{store.root}: the first scan is not complete", remedy="run `indexer scan` or `indexer watch`"
                )
            if not told:
                noted = {key: reader.meta(key) for key in ("last_event", "last_reconcile")}
                document |= {key: None if value is None else int(value) for key, value in noted.items()}
            document |= _figures(reader, now)
    except NotScannedError:
        if document["state"] == "stopped":
            raise
        document |= dict.fromkeys(("files", "directories", "bytes", "allocated", "due_files", "due_bytes"), 0)
        document["skipped_mounts"] = []
    return document


def _figures(reader: Reader, now: float) -> dict[str, Any]:
    totals = reader.totals()
    own_directories(reader)
    files, size = due_totals(reader, int(now))
    problems = reader.problems()
    return {
        "files": totals.files,
        "directories": totals.directories,
        "bytes": totals.bytes,
        "allocated": totals.allocated,
        "due_files": files,
        "due_bytes": size,
        "skipped_mounts": [text_of(path) for path, code in problems if code == errno.EXDEV],
        "unreadable": [text_of(path) for path, code in problems if code != errno.EXDEV],
    }


def _trash_bytes(store: Store) -> int:
    """Sum up the trash, from the ledger; a store from which nothing was ever removed has none."""
    if not store.ledger_path.exists():
        return 0
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        return ledger.trash_totals()[1]


def backend_here(store: Store) -> tuple[str, str]:
    """Return the backend that a service would use now, and why."""
    from indexer.watch.choose import choose_backend

    try:
        choice = choose_backend(store.root, store.config.store.filesystems, store.config.store.backend)
    except IndexerError as error:
        return "", error.message
    except OSError as error:
        return "", error.strerror or str(error)
    return choice.name, choice.reason
