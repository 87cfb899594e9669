"""A store whose databases are ours to open: what `StorageManager` asks of it, done here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from indexer.errors import IndexerError, UsageError
from indexer.units import show_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indexer.policy.plan import Plan
    from indexer.service.holding import Lease
    from indexer.store import Store


class Local:
    """Does what it is asked in this process, beside a running service or without one. Keeps no connection.

    Its counterpart is `service.remote.Remote`, which asks the service. Paths are bytes relative to the root; what a
    method returns and raises is said at `StorageManager`. What a command does not need is not imported for it.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def status(self) -> dict[str, Any]:
        """See `StorageManager.status`."""
        from indexer.service.status import status

        return status(self._store, self._clock())

    def scan(self, *, quick: bool, progress: Callable[[int, int], None]) -> dict[str, Any]:
        """See `StorageManager.scan`."""
        from indexer.service.once import scan_once

        return scan_once(self._store, quick=quick, clock=self._clock, progress=progress)

    def metrics(self) -> bytes:
        """See `StorageManager.metrics`."""
        from indexer.service.metrics import metrics_text

        return metrics_text(self._store, self.status(), self.report("usage"))

    def report(self, name: str, **options: Any) -> list[dict[str, Any]]:
        """See `StorageManager.report`."""
        from indexer.reports.tables import report

        return report(self._store, name, int(self._clock()), **options)

    def explain(self, paths: Sequence[bytes]) -> list[dict[str, Any]]:
        """See `StorageManager.explain_all`."""
        from indexer.service.explaining import explain

        return explain(self._store, paths, int(self._clock()))

    def is_sorted_by_older_policy(self) -> bool:
        """See `StorageManager.is_sorted_by_older_policy`."""
        from indexer.service.policy import is_older

        return is_older(self._store)

    def plan(self, *, class_name: str | None, under: bytes, at: int | None, scan: bool) -> Plan:
        """See `StorageManager.make_plan`."""
        from indexer.service.preview import Scope, preview

        return preview(self._store, self._clock, Scope(class_name, under), at=at, scan=scan)

    def fresh(self, age: int) -> str | None:
        """See `StorageManager.fresh`."""
        from indexer.service.stale import fresh

        return fresh(self._store, age, self._clock())

    def run(
        self,
        kind: str,
        *,
        dry_run: bool,
        class_name: str | None,
        under: bytes,
        limit: int | None,
        scan: bool,
        wait: float,
        progress: Callable[[int], None] | None,
        if_stale: int | None,
        override: str | None,
        plan_file: Path | None,
    ) -> dict[str, Any]:
        """See `StorageManager.run_cleanup`; `kind` is `expire` or `cleanup`."""
        from indexer.service.cleanup import Scope, run
        from indexer.service.stale import younger

        written = None
        if plan_file is not None:
            from indexer.service.written import read_plan

            written = read_plan(self._store, plan_file)
        scope = Scope(class_name, under, limit, override=override)
        result = run(
            self._store,
            self._clock,
            scope,
            kind=kind,
            dry_run=dry_run,
            scan=scan,
            wait=wait,
            progress=progress,
            trigger="command" if if_stale is None or scope != Scope() else "fallback",
            still=lambda ledger: if_stale is None or younger(ledger, if_stale, self._clock()) is None,
            written=written,
        )
        document = result.as_json()
        if result.refused is not None:
            document["refusal"] = {"message": result.message, "remedy": result.remedy}
        return document

    def hold(
        self, paths: Sequence[bytes], *, until: int | None, reason: str, by: str, glob: bool
    ) -> list[dict[str, Any]]:
        """See `StorageManager.hold`; `until` in Unix seconds."""
        from indexer.enforce.who import current_user
        from indexer.service.holding import hold

        by = by or current_user()
        return hold(self._store, paths, until=until, reason=reason, by=by, clock=self._clock, glob=glob)

    def release(self, paths: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """See `StorageManager.release`."""
        from indexer.service.holding import release

        return release(self._store, paths, clock=self._clock)

    def lease(self, path: bytes, *, ttl: int, holder: str) -> Lease:
        """See `StorageManager.lease`; `ttl` in seconds."""
        from indexer.service.holding import Lease

        return Lease(self._store, path, ttl=ttl, holder=holder, clock=self._clock)

    def trash(self) -> dict[str, Any]:
        """See `StorageManager.trash_list`."""
        from indexer.service.trash import trash_document

        return trash_document(self._store)

    def restore(
        self, paths: Sequence[bytes], *, run: int | None, to: str | os.PathLike[str] | None, dry_run: bool, wait: float
    ) -> dict[str, Any]:
        """See `StorageManager.restore`."""
        from indexer.service.trash import restore_here, would_restore_here

        if dry_run:
            return would_restore_here(self._store, paths=paths, run=run, to=to)
        if to is not None:
            _make_directory(to)
        result = restore_here(self._store, self._clock, paths=paths, run=run, to=to, wait=wait)
        if result["restored"] and to is None:
            self._look_again()
        return result

    def _look_again(self) -> None:
        """Without a service nobody has seen what came back: a quick pass puts it into the index, if there is one."""
        from indexer.service.running import service_running

        if service_running(self._store) or not self._store.index_path.exists():
            return
        try:
            self.scan(quick=True, progress=lambda _seen, _left: None)
        except IndexerError:
            return  # whoever holds the index looks; a damaged one is the next command's to report


def _make_directory(path: str | os.PathLike[str]) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{show_name(os.fsencode(path))}: {error.strerror}",
            remedy="name a directory on the store's filesystem that you may write to",
        ) from error
