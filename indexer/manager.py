"""An application's own handle on a store. The command line is a thin layer over it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import UsageError
from indexer.store import locate_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from indexer.policy.plan import Plan
    from indexer.service.comparison import PolicyChange
    from indexer.service.holding import Lease
    from indexer.service.local import Local
    from indexer.service.remote import Remote, ToldPlan
    from indexer.store import Store

Clock = Callable[[], float]


class StorageManager:
    """One store: what is in it, what would go, and why. Thread-safe (it keeps no connection); every call blocks.

    Paths may be absolute, or relative to the store's root (bytes, str or Path). Times are Unix seconds, sizes bytes.
    Errors are `indexer.errors.IndexerError`, each with a remedy.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        config: str | os.PathLike[str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        clock: Clock = time.time,
    ) -> None:
        """Open the store at `path` (default: `INDEXER_STORE`, else the nearest at or above the current directory).

        `config` names a configuration file elsewhere, `overrides` are dotted keys of it ("store.backend").
        Whoever may not open its databases asks its service, if `[service]` lets him; what it does not do for others
        then raises PrivateStoreError. Raises NoStoreError, TrustError, ConfigError, UsageError, FilesystemError.
        """
        from indexer.service.reach import open_or_reach

        config_path = Path(config) if config is not None else None
        root = locate_store(option=Path(path) if path is not None else None, config_path=config_path)
        self._serve(open_or_reach(root, config_path=config_path, overrides=dict(overrides or {})), clock)

    @classmethod
    def of(cls, store: Store, clock: Clock = time.time) -> StorageManager:
        """Wrap a store that is open already."""
        manager = cls.__new__(cls)
        manager._serve(store, clock)  # noqa: SLF001 - another way to construct it
        return manager

    @property
    def store(self) -> Store:
        """The opened store."""
        return self._store

    def _serve(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._there: Local | Remote
        """Who does what is asked: this process, or the service where the databases are not ours to open."""
        if store.socket is None:
            from indexer.service.local import Local

            self._there = Local(store, clock)
        else:
            from indexer.service.remote import Remote

            self._there = Remote(store, clock)

    # The index

    def scan(self, *, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Bring the index up to date; the keys of `scan --json`.

        Raises BusyError, FilesystemError, IndexDatabaseError.
        """
        return self._there.scan(quick=quick, progress=progress or (lambda _seen, _left: None))

    def status(self) -> dict[str, Any]:
        """Return state and figures; the keys of `status --json`. Raises NotScannedError, IndexDatabaseError."""
        return self._there.status()

    def unseen_since(self) -> int | None:
        """Return when every file was last looked at (Unix seconds), where no service has followed what changed since.

        A quick pass sees the names that came and went since then, not what changed in place: contents, set times. None
        where a service runs. Raises NotScannedError, IndexDatabaseError.
        """
        from indexer.index.queries import Reader
        from indexer.service.running import service_running

        if service_running(self._store):
            return None
        with Reader.open(self._store.index_path) as reader:
            return int(reader.meta("last_reconcile") or 0)

    def usage(self) -> list[dict[str, Any]]:
        """Return one row a class: files, bytes, allocated, oldest, newest, quotas."""
        return self.report("usage")

    # What goes

    def plan(
        self,
        *,
        class_name: str | None = None,
        under: str | bytes | os.PathLike[str] = b"",
        at: int | None = None,
        scan: bool = True,
    ) -> dict[str, Any]:
        """Return what `cleanup` would do now (or at `at`), with the reason of each; the keys of `plan --json`."""
        return self.make_plan(class_name=class_name, under=under, at=at, scan=scan).as_json()

    def make_plan(
        self,
        *,
        class_name: str | None = None,
        under: str | bytes | os.PathLike[str] = b"",
        at: int | None = None,
        scan: bool = True,
    ) -> Plan | ToldPlan:
        """Return the same as a value, for those who stream it."""
        return self._there.plan(class_name=class_name, under=self.relative(under), at=at, scan=scan)

    def compare_policy(
        self,
        policy: str | os.PathLike[str],
        *,
        class_name: str | None = None,
        under: str | bytes | os.PathLike[str] = b"",
        at: int | None = None,
        scan: bool = True,
    ) -> PolicyChange:
        """Return what another policy would change: `goes` and `stays`. Raises ConfigError with all of its problems."""
        from indexer.service.preview import Scope, compare

        scope = Scope(class_name, self.relative(under))
        return compare(self._store, self._clock, scope, Path(policy), at=at, scan=scan)

    def write_plan(self, plan: Plan | ToldPlan, target: str | os.PathLike[str]) -> int:
        """Write a plan for `run_cleanup(plan_file=…)`; return its files. Raises UsageError, FilesystemError."""
        from indexer.policy.plan import Plan
        from indexer.service.written import write_plan

        if not isinstance(plan, Plan):
            raise UsageError(
                "a plan that the service has made cannot be carried out later", remedy="write it as its own user"
            )
        return write_plan(plan, self._store, Path(target))

    def expire(
        self,
        *,
        dry_run: bool = False,
        class_name: str | None = None,
        under: str | bytes | os.PathLike[str] = b"",
        limit: int | None = None,
        scan: bool = True,
        wait: float = 0.0,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Remove what is past its class's TTL; the keys of `expire --json`. See `run_cleanup`."""
        return self._run("expire", dry_run, class_name, under, limit, scan, wait, progress)

    def run_cleanup(
        self,
        *,
        dry_run: bool = False,
        class_name: str | None = None,
        under: str | bytes | os.PathLike[str] = b"",
        limit: int | None = None,
        scan: bool = True,
        wait: float = 0.0,
        progress: Callable[[int], None] | None = None,
        if_stale: int | None = None,
        override: str | None = None,
        plan_file: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """Do all of it: the trash past its time, TTL, quotas, watermarks; the keys of `cleanup --json`.

        `if_stale` (seconds) does nothing, `skipped`, when the service is healthy or the last run is younger: `fresh`.
        `wait` is how many seconds to wait for another run, `override` a guard that is set aside, which is recorded. Of
        what a `plan_file` names only what has not changed goes, and would go anyhow. A refusal by a guard or by the
        store's mode is in `refused`. Raises BusyError, NotScannedError, LedgerError, ServiceError, FilesystemError.
        """
        if if_stale is not None and (why := self.fresh(if_stale)):
            from indexer.service.stale import nothing_done

            return nothing_done(why, dry_run=dry_run)
        return self._run(
            "cleanup", dry_run, class_name, under, limit, scan, wait, progress, if_stale, override, plan_file
        )

    def fresh(self, age: int) -> str | None:
        """Say why `run_cleanup(if_stale=age)` would do nothing (`age` in seconds), None when it would work."""
        return self._there.fresh(age)

    def _run(
        self,
        kind: str,
        dry_run: bool,  # noqa: FBT001 - handed through
        class_name: str | None,
        under: str | bytes | os.PathLike[str],
        limit: int | None,
        scan: bool,  # noqa: FBT001 - handed through
        wait: float,
        progress: Callable[[int], None] | None,
        if_stale: int | None = None,
        override: str | None = None,
        plan_file: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        return self._there.run(
            kind,
            dry_run=dry_run,
            class_name=class_name,
            under=self.relative(under),
            limit=limit,
            scan=scan,
            wait=wait,
            progress=progress,
            if_stale=if_stale,
            override=override,
            plan_file=None if plan_file is None else Path(plan_file),
        )

    # What must not go

    def hold(
        self,
        path: str | bytes | os.PathLike[str],
        *more: str | bytes | os.PathLike[str],
        until: float | str | datetime | None = None,
        ttl: str | None = None,
        reason: str = "",
        by: str = "",
        glob: bool = False,
    ) -> list[dict[str, Any]]:
        """Protect files or trees from every removal until a time, for a duration ("3d"), or for good.

        `until` is Unix seconds, a datetime (without a zone: UTC), or text as of the command line ("+1d", ISO 8601).

        With `glob` the paths are gitignore-style globs relative to the root: what they match is held, also later.

        Returns the holds once no removal that covers them is in flight. Raises UsageError, LedgerError, BusyError.
        """
        from indexer.units import parse_duration, time_of

        now = self._clock()
        end = int(now) + parse_duration(ttl) if ttl is not None else None if until is None else time_of(until, now)
        paths = [os.fsencode(each) if glob else self.relative(each) for each in (path, *more)]
        return self._there.hold(paths, until=end, reason=reason, by=by, glob=glob)

    def release(
        self, path: str | bytes | os.PathLike[str], *more: str | bytes | os.PathLike[str], glob: bool = False
    ) -> tuple[list[dict[str, Any]], list[bytes]]:
        """End every hold on exactly these paths or, with `glob`, of these globs, word for word.

        Returns what is still held in the store, and what was not held.
        """
        paths = [os.fsencode(each) if glob else self.relative(each) for each in (path, *more)]
        return self._there.release(paths)

    def lease(self, path: str | bytes | os.PathLike[str], ttl: str = "1h") -> Lease:
        """Return a context manager: nothing at or below `path` is removed inside of it, though it may not exist yet."""
        from indexer.enforce.who import current_user
        from indexer.units import parse_duration

        holder = f"{current_user()}, process {os.getpid()}"
        return self._there.lease(self.relative(path), ttl=parse_duration(ttl), holder=holder)

    def restore(
        self,
        *,
        paths: Iterable[str | bytes | os.PathLike[str]] = (),
        run: int | None = None,
        to: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
        wait: float = 0.0,
    ) -> dict[str, Any]:
        """Bring files back from the trash; the keys of `restore --json`. Never over an existing file.

        With `to` they land below that directory, which is made if need be.
        `dry_run` says which they are. Raises BusyError, LedgerError, UsageError.
        """
        wanted = [self.relative(path) for path in paths]
        if not wanted and run is None:
            raise UsageError("what is to be restored is not said", remedy='name paths, or a run: paths=["a"], run=7')
        return self._there.restore(wanted, run=run, to=to, dry_run=dry_run, wait=wait)

    def trash_list(self, *, older_than: int | None = None) -> dict[str, Any]:
        """Return what lies in the trash, or only what was put there more than `older_than` seconds ago.

        The keys of `trash list --json`: `files`, `bytes` (allocated) and `items`.
        """
        found = self._there.trash()
        if older_than is None:
            return found
        now = int(self._clock())
        items = [one for one in found["items"] if one["at"] is not None and now - one["at"] > older_than]
        return {"files": len(items), "bytes": sum(int(one["bytes"] or 0) for one in items), "items": items}

    def trash_empty(self, *, older_than: int | None = None, dry_run: bool = False, wait: float = 0.0) -> dict[str, Any]:
        """Destroy what lies in the trash, or only what was put there more than `older_than` seconds ago."""
        from indexer.service.trash import empty_here, would_empty

        if dry_run:
            return would_empty(self._store, self._clock, older_than=older_than)
        return empty_here(self._store, self._clock, older_than=older_than, wait=wait)

    # What it says

    def explain(self, path: str | bytes | os.PathLike[str]) -> dict[str, Any]:
        """Say why a file has its class and its date, and what stands in the way; the keys of `explain --json`."""
        return self.explain_all([path])[0]

    def explain_all(self, paths: Iterable[str | bytes | os.PathLike[str]]) -> list[dict[str, Any]]:
        """Say the same of each of several paths; one plan serves them all, where one is needed."""
        return self._there.explain([self.relative(path) for path in paths])

    def is_sorted_by_older_policy(self) -> bool:
        """Say whether reports still tell of classes as they were before the last edit of the configuration.

        Not asked of a service that is reached by its socket. Raises NotScannedError, IndexDatabaseError.
        """
        return self._there.is_sorted_by_older_policy()

    def report(self, name: str, **options: Any) -> list[dict[str, Any]]:
        """Return the rows of a report: usage, expiring, largest …. Raises UsageError for an unknown one."""
        return self._there.report(name, **options)

    def sql(self, query: str, **options: Any) -> dict[str, Any]:
        """Run a read-only query on the views of the contract: `columns`, `rows`. Raises UsageError."""
        from indexer.reports.sql import query as run_query

        return run_query(self._store, query, int(self._clock()), **options)

    def export(
        self,
        target: str | os.PathLike[str],
        *,
        view: str | None = None,
        mode: int | None = None,
        group: str | None = None,
    ) -> int:
        """Write a snapshot for other tools, in the format of the suffix (.db, .csv, .jsonl, .parquet); return its rows.

        Raises UsageError, NotScannedError, FilesystemError.
        """
        from indexer.reports.export import export

        return export(self._store, Path(target), int(self._clock()), view=view, mode=mode, group=group)

    def write_page(self, target: str | os.PathLike[str]) -> int:
        """Write the report as one HTML page that needs no network; return its bytes.

        Raises UsageError, NotScannedError, FilesystemError.
        """
        from indexer.reports.page.file import write_page

        return write_page(self._store, Path(target), int(self._clock()))

    def metrics(self) -> bytes:
        """Return the store's figures as Prometheus text."""
        return self._there.metrics()

    def relative(self, path: str | bytes | os.PathLike[str]) -> bytes:
        """Return a path as bytes relative to the root, without following its last component.

        Raises UsageError for a path outside of the store.
        """
        from indexer.store.relative import relative

        return relative(self._store.root_bytes, os.fsencode(path))
