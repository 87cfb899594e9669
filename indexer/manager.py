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

    from indexer.policy.plan import Plan
    from indexer.service.comparison import PolicyChange
    from indexer.service.holding import Lease
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
        self._store = open_or_reach(root, config_path=config_path, overrides=dict(overrides or {}))
        self._clock = clock

    @classmethod
    def of(cls, store: Store, clock: Clock = time.time) -> StorageManager:
        """Wrap a store that is open already."""
        manager = cls.__new__(cls)
        manager._store, manager._clock = store, clock  # noqa: SLF001 - another way to construct it
        return manager

    @property
    def store(self) -> Store:
        """The opened store."""
        return self._store

    @property
    def _remote(self) -> Remote | None:
        """Whom to ask where the databases are not ours to open."""
        if self._store.socket is None:
            return None
        from indexer.service.remote import Remote

        return Remote(self._store)

    # The index

    def scan(self, *, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Bring the index up to date; the keys of `scan --json`.

        Raises BusyError, FilesystemError, IndexDatabaseError.
        """
        if (remote := self._remote) is not None:
            return remote.scan(quick=quick, progress=progress or (lambda _seen, _left: None))
        from indexer.service.once import scan_once

        return scan_once(self._store, quick=quick, clock=self._clock, progress=progress or (lambda _seen, _left: None))

    def status(self) -> dict[str, Any]:
        """Return state and figures; the keys of `status --json`. Raises NotScannedError, IndexDatabaseError."""
        if (remote := self._remote) is not None:
            return remote.status()
        from indexer.service.status import status

        return status(self._store, self._clock())

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
        if (remote := self._remote) is not None:
            return remote.plan(class_name=class_name, under=self.relative(under), at=at, scan=scan)
        from indexer.service.preview import Scope, preview

        return preview(self._store, self._clock, Scope(class_name, self.relative(under)), at=at, scan=scan)

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
            from indexer.enforce.result import RunResult

            return {**RunResult(skipped=True, dry_run=dry_run).as_json(), "why": why}
        return self._run(
            "cleanup", dry_run, class_name, under, limit, scan, wait, progress, if_stale, override, plan_file
        )

    def fresh(self, age: int) -> str | None:
        """Say why `run_cleanup(if_stale=age)` would do nothing (`age` in seconds), None when it would work."""
        if (remote := self._remote) is not None:
            return remote.fresh(age)
        from indexer.service.stale import fresh

        return fresh(self._store, age, self._clock())

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
        if (remote := self._remote) is not None:
            return remote.run(
                kind,
                dry_run=dry_run,
                class_name=class_name,
                under=self.relative(under),
                limit=limit,
                scan=scan,
                wait=wait,
                progress=progress,
                override=override,
                plan_file=plan_file,
            )
        from indexer.service.cleanup import Scope, run
        from indexer.service.stale import younger

        written = None
        if plan_file is not None:
            from indexer.service.written import read_plan

            written = read_plan(self._store, Path(plan_file))
        scope = Scope(class_name, self.relative(under), limit, override=override)
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

    # What must not go

    def hold(
        self,
        path: str | bytes | os.PathLike[str],
        *more: str | bytes | os.PathLike[str],
        until: float | None = None,
        ttl: str | None = None,
        reason: str = "",
        by: str = "",
        glob: bool = False,
    ) -> list[dict[str, Any]]:
        """Protect files or trees from every removal until a time (Unix seconds), for a duration ("3d"), or for good.

        With `glob` the paths are gitignore-style globs relative to the root: what they match is held, also later.

        Returns the holds once no removal that covers them is in flight. Raises UsageError, LedgerError, BusyError.
        """
        from indexer.service.holding import hold
        from indexer.units import parse_duration

        end = int(self._clock()) + parse_duration(ttl) if ttl is not None else None if until is None else int(until)
        paths = [os.fsencode(each) if glob else self.relative(each) for each in (path, *more)]
        if (remote := self._remote) is not None:
            return remote.hold(paths, until=end, reason=reason, glob=glob)
        return hold(self._store, paths, until=end, reason=reason, by=by or _user(), clock=self._clock, glob=glob)

    def release(
        self, path: str | bytes | os.PathLike[str], *more: str | bytes | os.PathLike[str], glob: bool = False
    ) -> tuple[list[dict[str, Any]], list[bytes]]:
        """End every hold on exactly these paths or, with `glob`, of these globs, word for word.

        Returns what is still held in the store, and what was not held.
        """
        paths = [os.fsencode(each) if glob else self.relative(each) for each in (path, *more)]
        if (remote := self._remote) is not None:
            return remote.release(paths)
        from indexer.service.holding import release

        return release(self._store, paths, clock=self._clock)

    def lease(self, path: str | bytes | os.PathLike[str], ttl: str = "1h") -> Lease:
        """Return a context manager: nothing at or below `path` is removed inside of it, though it may not exist yet."""
        from indexer.service.holding import Lease
        from indexer.service.remote import RemoteLease
        from indexer.units import parse_duration

        holder = f"{_user()}, process {os.getpid()}"
        kind = Lease if self._store.socket is None else RemoteLease
        return kind(self._store, self.relative(path), ttl=parse_duration(ttl), holder=holder, clock=self._clock)

    def restore(
        self,
        *,
        paths: Iterable[str | bytes | os.PathLike[str]] = (),
        run: int | None = None,
        to: str | os.PathLike[str] | None = None,
        wait: float = 0.0,
    ) -> dict[str, Any]:
        """Bring files back from the trash; the keys of `restore --json`. Never over an existing file.

        With `to` they land below that directory, which is made if need be. Raises BusyError, LedgerError, UsageError.
        """
        from indexer.service.trash import restore_here

        wanted = [self.relative(path) for path in paths]
        if (remote := self._remote) is not None:
            return remote.restore(wanted, run=run, to=to, wait=wait)
        if to is not None:
            _make_directory(to)
        result = restore_here(self._store, self._clock, paths=wanted, run=run, to=to, wait=wait)
        if result["restored"] and to is None:
            self._look_again()
        return result

    def _look_again(self) -> None:
        """Without a service nobody has seen what came back: a quick pass puts it into the index, if there is one."""
        from indexer.errors import IndexerError
        from indexer.service.running import service_running

        if service_running(self._store) or not self._store.index_path.exists():
            return
        try:
            self.scan(quick=True)
        except IndexerError:
            return  # whoever holds the index looks; a damaged one is the next command's to report

    def trash_list(self) -> dict[str, Any]:
        """Return what lies in the trash: `files`, `bytes` (allocated) and `items`."""
        if (remote := self._remote) is not None:
            return remote.trash()
        from indexer.service.trash import trash_document

        return trash_document(self._store)

    def trash_empty(self, *, older_than: int | None = None, dry_run: bool = False, wait: float = 0.0) -> dict[str, Any]:
        """Destroy what lies in the trash, or only what was put there more than `older_than` seconds ago."""
        from indexer.enforce.ledger import Ledger
        from indexer.enforce.trash import purge_trash, purgeable

        store = self._store
        everything = older_than is None
        if dry_run:
            if not store.ledger_path.exists():
                return {"run": None, "files_removed": 0, "bytes_freed": 0, "errors": [], "dry_run": True}
            with Ledger.open(store.ledger_path, read_only=True) as ledger:
                chosen = purgeable(ledger, now=int(self._clock()), older_than=older_than, everything=everything)
            freed = sum(action.allocated for action in chosen)
            return {"run": None, "files_removed": len(chosen), "bytes_freed": freed, "errors": [], "dry_run": True}
        with store.run_lock(wait=wait), Ledger.open(store.ledger_path) as ledger:
            root_fd = store.open_root()
            try:
                result = purge_trash(
                    store=store,
                    root_fd=root_fd,
                    ledger=ledger,
                    now=self._clock,
                    older_than=older_than,
                    everything=everything,
                )
            finally:
                os.close(root_fd)
        return {**result.as_json(), "dry_run": False}

    # What it says

    def explain(self, path: str | bytes | os.PathLike[str]) -> dict[str, Any]:
        """Say why a file has its class and its date, and what stands in the way; the keys of `explain --json`."""
        if (remote := self._remote) is not None:
            return remote.explain(self.relative(path))
        from indexer.reports.explain import explain

        return explain(self._store, self.relative(path), int(self._clock()))

    def is_sorted_by_older_policy(self) -> bool:
        """Say whether reports still tell of classes as they were before the last edit of the configuration.

        Not asked of a service that is reached by its socket. Raises NotScannedError, IndexDatabaseError.
        """
        if self._remote is not None:
            return False
        from indexer.service.policy import is_older

        return is_older(self._store)

    def report(self, name: str, **options: Any) -> list[dict[str, Any]]:
        """Return the rows of a report: usage, expiring, largest …. Raises UsageError for an unknown one."""
        if (remote := self._remote) is not None:
            return remote.report(name, **options)
        from indexer.reports.tables import report

        return report(self._store, name, int(self._clock()), **options)

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
        from indexer.reports.atomic import replacing
        from indexer.reports.page.figures import figures
        from indexer.reports.page.render import render

        page = render(figures(self._store, int(self._clock()))).encode("utf-8")
        with replacing(Path(target)) as temporary:
            temporary.write_bytes(page)
        return len(page)

    def metrics(self) -> bytes:
        """Return the store's figures as Prometheus text."""
        if (remote := self._remote) is not None:
            return remote.metrics()
        from indexer.service.metrics import metrics_text

        return metrics_text(self._store, self.status(), self.usage())

    def relative(self, path: str | bytes | os.PathLike[str]) -> bytes:
        """Return a path as bytes relative to the root, without following its last component.

        Raises UsageError for a path outside of the store.
        """
        from indexer.units import show_name

        raw = os.fsencode(path)
        root = self._store.root_bytes
        if not os.path.isabs(raw):
            clean = os.path.normpath(raw) if raw else b"."
            if clean == b"." or not clean.startswith(b".."):
                return b"" if clean == b"." else clean
            raw = os.path.join(root, clean)
        parent, name = os.path.split(os.path.abspath(raw))
        absolute = os.path.join(os.path.realpath(parent), name) if name else os.path.realpath(parent)
        if absolute == root or os.path.realpath(raw) == root:
            return b""
        if not absolute.startswith(root.rstrip(b"/") + b"/"):
            raise UsageError(
                f"{show_name(raw)} is not in the store {show_name(root)}", remedy="name a path below the store's root"
            )
        return absolute[len(root.rstrip(b"/")) + 1 :]


def _make_directory(path: str | os.PathLike[str]) -> None:
    from indexer.units import show_name

    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{show_name(os.fsencode(path))}: {error.strerror}",
            remedy="name a directory on the store's filesystem that you may write to",
        ) from error


def _user() -> str:
    """Return who this process is: a name, or the number where there is none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
