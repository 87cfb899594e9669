"""The schedule of one store: APScheduler wakes up, the ledger says whether there is something to do.

Jobs run in threads beside the writer. A look at what is due (`HEARTBEAT`) makes good what no wake-up brought: times
missed while nobody ran, a process that was killed in mid-run, a job store that could not be reached.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from indexer.enforce.ledger import Ledger
from indexer.errors import BusyError, IndexerError, NotScannedError
from indexer.events import ROOT_ID, Rescan
from indexer.service.jobs import REMOVING, Last, due_since, is_due, last_cleanup, refusing_guard, row_of
from indexer.service.priority import IdlePriority
from indexer.service.triggers import next_after, trigger_of, zone
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.index.apply import Index
    from indexer.service.daemon import Service
    from indexer.store import Store

log = logging.getLogger(__name__)

HEARTBEAT = 30.0
"""Seconds between two looks at what is due and at the job store."""

_RUNNING: dict[str, Schedule] = {}
"""By store id: what a job that comes out of a shared store finds its store by."""


def fire(store_id: str, name: str) -> None:
    """Do one job if it is due; what APScheduler calls, also for a job that another process has stored."""
    schedule = _RUNNING.get(store_id)
    if schedule is not None:
        schedule.attempt(name)


class Schedule:
    """Runs while it is entered. Any thread may ask for `rows`."""

    def __init__(
        self,
        store: Store,
        service: Service | None = None,
        *,
        clock: Callable[[], float] = time.time,
        heartbeat: float = HEARTBEAT,
        on_result: Callable[[str, dict[str, Any]], None] = lambda _name, _result: None,
        scheduler: Any = None,
    ) -> None:
        """`service` is the store's own in this process; without one only removal is done, not `reconcile`.

        `on_result` gets (job, result document) after each run, in the job's thread. `scheduler` is an application's own
        APScheduler, an `AsyncIOScheduler` in its loop for one: it wakes up there, and jobs run in threads all the same.
        """
        self._store = store
        self._service = service
        self._clock = clock
        self._heartbeat = heartbeat
        self._on_result = on_result
        self._config = store.config.schedule
        self._jobs = self._config.jobs()
        self._busy = {name: threading.Lock() for name in self._jobs}
        self._trouble: dict[str, str] = {}
        self._reconcile = Last(0, None, None)
        self._stopping = threading.Event()
        self._given = scheduler
        self._scheduler: Any = None
        self._shared: Any = None

    # Its life

    def __enter__(self) -> Self:
        """Start; without jobs nothing is started, and APScheduler is not even imported."""
        if self._jobs:
            _RUNNING[self._store.id] = self
            self._scheduler = self._start(None) if self._given is None else self._join(self._given)
        return self

    def __exit__(self, *_: object) -> None:
        """Let a run end after the files in hand, and wait for it."""
        self._stopping.set()
        if _RUNNING.get(self._store.id) is self:
            del _RUNNING[self._store.id]
        if self._given is not None and self._scheduler is not None:
            self._leave(self._given)
            self._scheduler = None
        for scheduler in (self._scheduler, self._shared):
            if scheduler is not None and scheduler.running:
                scheduler.shutdown(wait=True)

    def _start(self, shared: Any) -> Any:
        """Start a scheduler: our own with the heartbeat, or the one over the shared store."""
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        scheduler = BackgroundScheduler(
            timezone=zone(self._config.timezone),
            executors={"default": ThreadPoolExecutor(len(self._jobs) + 1)},
            **({"jobstores": {"default": shared}} if shared is not None else {}),
        )
        self._add_jobs(scheduler, "default", shared=shared is not None)
        scheduler.start()
        return scheduler

    def _add_jobs(self, scheduler: Any, executor: str, *, shared: bool) -> None:
        common: dict[str, Any] = {
            "executor": executor,
            "replace_existing": True,
            "coalesce": True,
            "max_instances": 1,
            "misfire_grace_time": None,
        }
        if not shared:
            scheduler.add_job(
                self._look,
                "interval",
                seconds=self._heartbeat,
                next_run_time=datetime.now(UTC),  # first of all, what was missed
                id=f"{self._store.id}.look",
                **common,
            )
        if shared == (self._config.jobstore is not None):
            for name, when in self._jobs.items():
                scheduler.add_job(
                    "indexer.service.schedule:fire",
                    trigger_of(when, self._config.timezone, self._config.jitter),
                    args=(self._store.id, name),
                    id=f"{self._store.id}.{name}",
                    name=name,
                    **common,
                )

    def _join(self, scheduler: Any) -> Any:
        """Put the jobs into an application's scheduler, with threads of their own: removal never blocks its loop."""
        from apscheduler.executors.pool import ThreadPoolExecutor

        alias = self._alias
        scheduler.add_executor(ThreadPoolExecutor(len(self._jobs) + 1), alias)
        self._add_jobs(scheduler, alias, shared=False)
        return scheduler

    def _leave(self, scheduler: Any) -> None:
        """Take the jobs out again and wait for those under way; what the application has in it goes on."""
        from apscheduler.jobstores.base import JobLookupError

        for name in ("look", *self._jobs):
            with suppress(JobLookupError):  # the application has shut its scheduler down, or emptied it
                scheduler.remove_job(f"{self._store.id}.{name}")
        with suppress(KeyError):
            scheduler.remove_executor(self._alias)

    @property
    def _alias(self) -> str:
        return f"indexer.{self._store.id}"

    def _look(self) -> None:
        """See to the shared store and to what is due."""
        if self._config.jobstore is not None and not self._stopping.is_set():
            self._share(self._config.jobstore)
        self._judge()
        for name in self._jobs:
            self.attempt(name, jitter=self._config.jitter)

    def _share(self, address: str) -> None:
        """Start the scheduler over the shared store, or again if an error of the store has ended its thread."""
        from indexer.service.jobstore import open_jobstore

        thread = getattr(self._shared, "_thread", None)
        if thread is not None and thread.is_alive():
            return
        try:
            self._shared = self._start(open_jobstore(address, self._store.id))
        except Exception as error:  # noqa: BLE001 - each store has errors of its own; the heartbeat does the work meanwhile
            self._say("jobstore", f"{type(error).__name__}: {error}")
        else:
            self._trouble.pop("jobstore", None)

    # Its work

    def adopt(self, store: Store) -> None:
        """From now on runs go by this store's policy; the times are those of the start."""
        self._store = store

    def attempt(self, name: str, *, jitter: int = 0) -> None:
        """Do a job if it is due and nobody is at it."""
        lock = self._busy.get(name)
        if lock is None or self._ending() or not self._may_run() or not lock.acquire(blocking=False):
            return
        try:
            if name == "reconcile":
                self._verify(jitter)
            else:
                self._clean(name, jitter)
        except BusyError:
            return  # another run: the next heartbeat looks again
        except NotScannedError:
            return  # the same
        except (IndexerError, OSError) as error:
            self._say(name, str(error))
        except Exception as error:
            log.exception(
                "%s failed", name, extra=self._named()
            )  # the edge: a defect in a run leaves the service alive
            self._trouble[name] = f"{type(error).__name__}: {error}"
        else:
            self._trouble.pop(name, None)
        finally:
            lock.release()

    def _ending(self) -> bool:
        return self._stopping.is_set() or (self._service is not None and self._service.stopping)

    def _may_run(self) -> bool:
        """Nothing is begun before the index is there, nor while the root is away."""
        if self._service is None:
            return True
        state = self._service.board.snapshot
        return state.ready and not {"root_missing", "root_changed"} & set(state.reasons)

    def _due(self, name: str, ledger: Ledger, jitter: int) -> bool:
        return is_due(
            self._jobs[name], self._config.timezone, due_since(ledger, name, self._since()), self._clock(), jitter
        )

    def _clean(self, name: str, jitter: int) -> None:
        from indexer.service.cleanup import Scope, run

        if self._store.ledger_path.exists():
            with Ledger.open(self._store.ledger_path, read_only=True) as ledger:
                if not self._due(name, ledger, jitter):
                    return
        elif not is_due(self._jobs[name], self._config.timezone, self._since(), self._clock(), jitter):
            return
        IdlePriority(for_good=True).set(idle=True)
        result = run(
            self._store,
            self._clock,
            Scope(),
            kind=name,
            trigger="schedule",
            stop=self._ending,
            still=lambda ledger: self._due(name, ledger, jitter),
        )
        if result.skipped:
            return
        words = "%s: %d files removed, %d bytes freed"
        log.info(words, name, result.files_removed, result.bytes_freed, extra=self._named())
        self._judge()
        self._on_result(name, {**result.as_json(), "message": result.message, "remedy": result.remedy})

    def _verify(self, jitter: int) -> None:
        """Ask the writer to verify every file at its leisure; it notes when it is done."""
        service = self._service
        if service is None:
            return
        done = service.board.snapshot.last_reconcile or 0
        if self._reconcile.started and self._reconcile.seconds is None:
            if done < self._reconcile.started:
                return  # under way
            self._reconcile = Last(self._reconcile.started, float(done - self._reconcile.started), "done")
        if not is_due(self._jobs["reconcile"], self._config.timezone, done or self._since(), self._clock(), jitter):
            return
        self._reconcile = Last(int(self._clock()), None, None)

        def verify(index: Index) -> None:
            index.request_rescan(Rescan(ROOT_ID, tree=True, reason="scheduled"), verify=True)

        service.post(verify, hurry=False)

    def _since(self) -> int:
        """Return from when on times of the schedule count where the job never ran: the last edit of its file."""
        path = self._store.config.path
        try:
            edited = os.stat(path).st_mtime if path is not None else self._clock()
        except FileNotFoundError:
            edited = self._clock()
        return int(min(edited, self._clock()))

    def _judge(self) -> None:
        """Let the service's health say whether a guard refused the last run, whoever started it."""
        if self._service is None or not self._store.ledger_path.exists():
            return
        with Ledger.open(self._store.ledger_path, read_only=True) as ledger:
            guard = refusing_guard(ledger)
        if guard is None:
            self._service.board.recover("guard_refused")
        else:
            self._service.board.degrade("guard_refused", f"the last run was refused by {guard}")

    def _say(self, what: str, detail: str) -> None:
        """Log a failure once, not at every try."""
        if self._trouble.get(what) != detail:
            log.warning("%s: %s", what, show_text(detail), extra=self._named())
        self._trouble[what] = detail

    def _named(self) -> dict[str, str]:
        """Return which store a line of the log is about."""
        return {"store": str(self._store.root)}

    # What it says

    def rows(self) -> list[dict[str, Any]]:
        """Return `jobs` of `status`."""
        now, rows = self._clock(), []
        removing: dict[str, tuple[Last | None, int]] = {}
        if self._store.ledger_path.exists():
            with Ledger.open(self._store.ledger_path, read_only=True) as ledger:
                for name in REMOVING:
                    removing[name] = (last_cleanup(ledger, name), due_since(ledger, name, self._since()))
        for name, when in self._jobs.items():
            this, since = removing.get(name, (None, self._since())) if name in REMOVING else self._reconciled()
            following = next_after(when, self._config.timezone, since)
            following = None if following is None else max(following, int(now))
            rows.append(row_of(name, when, following, this, self._trouble.get(name, "")))
        return rows

    def _reconciled(self) -> tuple[Last | None, int]:
        """Return the last verification, ours or the one at each start, and from when on the next one is due."""
        noted = self._service.board.snapshot.last_reconcile if self._service is not None else None
        last = self._reconcile
        if noted is None:
            return (last if last.started else None), self._since()
        if last.started > noted:
            return last, last.started
        seconds = float(noted - last.started) if last.started else None
        return Last(last.started or noted, seconds, "done"), noted
