"""Holds and leases: recorded durably first, then waited for until no removal is under way that has not seen them."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from indexer.enforce.ledger import Ledger
from indexer.errors import BusyError, ConfigError, IndexerError, UsageError
from indexer.policy.globs import Globs, text
from indexer.syscalls.stat import stat_at
from indexer.units import show_name, text_of

if TYPE_CHECKING:
    from indexer.enforce.rows import Hold
    from indexer.store import Store

log = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds to wait for a run that announced a covered file before the hold was recorded."""
STEP = 0.02
RENEWALS = 3
"""A lease is renewed so often within its ttl."""


def hold(
    store: Store,
    paths: Sequence[bytes],
    *,
    until: int | None,
    reason: str,
    by: str,
    clock: Callable[[], float],
    glob: bool = False,
) -> list[dict[str, Any]]:
    """Protect files and trees (paths relative to the root) until `until` (Unix seconds; None: until released).

    With `glob` the paths are gitignore-style globs: they hold what they match, now and later.

    Returns the holds once no removal that covers them is in flight. Raises UsageError for an end in the past,
    LedgerError, BusyError when a run does not come to an end (the hold is recorded, and holds for all later runs).
    """
    matches = [_matcher(path) for path in paths] if glob else []
    now = clock()
    if until is not None and until <= now:
        raise UsageError("the hold would end in the past", remedy="give it a time to come: --until +3d, or --ttl 3d")
    with Ledger.open(store.ledger_path) as ledger:
        for path in paths:
            kind = "glob" if glob else _kind(store, path)
            ledger.add_hold(path, kind, until=until, reason=reason, by=by, now=now)
        for number, path in enumerate(paths):
            wait_until_free(ledger, path, matches[number] if glob else None)
        return [as_json(one) for one in ledger.holds(now) if one.path in set(paths)]


def release(
    store: Store, paths: Sequence[bytes], *, clock: Callable[[], float]
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """End every hold on exactly these paths; return what is still held, and the paths that were not."""
    with Ledger.open(store.ledger_path) as ledger:
        nothing = [path for path in paths if not ledger.release_hold(path)]
        return [as_json(one) for one in ledger.holds(clock())], nothing


def as_json(one: Hold) -> dict[str, Any]:
    """Return one element of `hold --json`'s `holds`."""
    return {
        "path": text_of(one.path),
        "kind": one.kind,
        "until": one.until,
        "reason": one.reason,
        "by": one.by,
        "created": one.created,
    }


class Lease:
    """Nothing at or below a path is removed while this is held; it renews itself, and a crash ends it at its ttl."""

    def __init__(self, store: Store, path: bytes, *, ttl: int, holder: str, clock: Callable[[], float]) -> None:
        """`ttl` is in seconds. The path need not exist yet. Raises UsageError for a ttl under a second."""
        if ttl < 1:
            raise UsageError("a lease needs a ttl of at least a second", remedy='for example ttl="2h"')
        self._store = store
        self._path = path
        self._ttl = ttl
        self._holder = holder
        self._clock = clock
        self._id = 0
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Take the lease; returns once no removal that covers the path is in flight. Raises LedgerError, BusyError."""
        self._id = self._take()
        self._renewer = threading.Thread(target=self._renew, name="indexer-lease", daemon=True)
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._renewer is not None:
            self._renewer.join()
        self._give_back()

    def _take(self) -> int:
        now = self._clock()
        with Ledger.open(self._store.ledger_path) as ledger:
            lease = ledger.add_lease(self._path, self._holder, expires=int(now) + self._ttl, now=now)
            wait_until_free(ledger, self._path)
        return lease

    def _give_back(self) -> None:
        with Ledger.open(self._store.ledger_path) as ledger:
            ledger.end_lease(self._id)

    def renew(self) -> bool:
        """Move the end to a whole ttl from now; False when the lease was lost (it ran out while nobody renewed)."""
        with Ledger.open(self._store.ledger_path) as ledger:
            return ledger.renew_lease(self._id, expires=int(self._clock()) + self._ttl)

    def _renew(self) -> None:
        while not self._ended.wait(self._ttl / RENEWALS):
            try:
                if not self.renew():
                    log.warning("the lease of %s was lost: it ran out", show_name(self._path))
                    return
            except IndexerError as error:  # a service that is just being restarted, a full disk: try again in time
                log.warning("the lease of %s was not renewed: %s", show_name(self._path), error.message)


def _kind(store: Store, path: bytes) -> str:
    """A regular file is held as such; a directory, and what is not there yet, with all below."""
    root = store.open_root()
    try:
        return "tree" if stat.S_ISDIR(stat_at(root, path).mode) else "file" if path else "tree"
    except OSError:
        return "tree"
    finally:
        os.close(root)


def _matcher(glob: bytes) -> Callable[[bytes], bool]:
    """Return whether a path is held by a glob. Raises UsageError for one that cannot be."""
    pattern = os.fsdecode(glob)
    if pattern.startswith("!"):
        raise UsageError(f"{show_name(glob)}: a hold excepts nothing", remedy="name what is to be kept")
    try:
        globs = Globs((pattern,), "hold")
    except ConfigError as error:
        raise UsageError(f"{show_name(glob)}: {error.message}", remedy=error.remedy) from error
    return lambda path: globs.cover(text(path))


def wait_until_free(ledger: Ledger, path: bytes, matches: Callable[[bytes], bool] | None = None) -> None:
    """Return once no removal that covers `path`, or `matches` a path, is in flight. Raises BusyError."""
    deadline = time.monotonic() + PATIENCE
    while ledger.in_flight(path, tree=True) if matches is None else any(map(matches, ledger.under_way())):
        if time.monotonic() > deadline:
            raise BusyError(
                f"a run is still busy with {show_name(path)}; the hold is recorded and holds from its next batch on",
                remedy="wait for the run to end: indexer report runs",
            )
        time.sleep(STEP)
