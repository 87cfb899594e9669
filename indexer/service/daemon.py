"""The service of one store: a writer thread that brings every batch into the index, whatever happens around it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID, Barrier, Batch, Rescan
from indexer.index.audit import Audit
from indexer.index.quick import quick_pass
from indexer.service.clocks import ClockWatch
from indexer.service.loop import batches, budget, merely_verifying
from indexer.service.policy import index_policy
from indexer.service.priority import IdlePriority
from indexer.service.state import REASONS, Board
from indexer.service.supervise import EARLY, Backoff, GapError
from indexer.service.trouble import MENDING, contradiction, lost_root, trouble_of
from indexer.units import show_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from indexer.index.apply import Applied, Index
    from indexer.service.reload import Reload
    from indexer.service.supervise import RootWatch, Supervisor
    from indexer.watch.source import Watcher

log = logging.getLogger(__name__)

FIRST_DELAY = 0.25
"""Seconds before the first new try after a failure; each further one waits twice as long."""
AUDIT_SECONDS = 4.0
"""Between two looks of the audit, each at up to 16 files (every other one at the names of a small directory, too).

What a look costs goes by looks, and a service at rest costs little else; they fall together with the canary.
"""
SUSPECT_SECONDS = 2.0
"""Until what differed is looked at once more."""
OF_THE_SESSION = ("backend", "filesystems", "ignore_readers", "access_resolution")
"""Settings of [store] that a watcher and an index are made with: a change of them begins a new session."""
POLL = 0.5
"""Seconds between two looks of a waiting request at whether its watcher is still the current one."""


@dataclass(slots=True)
class Session:
    """One life of a watcher and its index: from before the first listing to a gap or the end."""

    watcher: Watcher
    """Started before the index lists anything."""
    index: Index
    supervisor: Supervisor


class Service:
    """Runs sessions until it is told to stop. `run` belongs to one thread, the writer; any may call the rest."""

    def __init__(
        self,
        open_session: Callable[[], AbstractContextManager[Session]],
        *,
        on_ready: Callable[[], None] = lambda: None,
        reload: Reload | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_session` makes watcher and index anew each time; `on_ready` is called once, by the writer."""
        self.board = Board()
        self.jobs: Callable[[], list[dict[str, Any]]] = list
        """What `status` says of the schedule, once there is one."""
        self.on_change: Callable[[], None] = lambda: None
        """Called by the writer after each batch by which files came, grew or changed; must return at once."""
        self.beat = monotonic()
        """When the writer last took its turn (monotonic)."""
        self._open_session = open_session
        self._on_ready = on_ready
        self.reload = reload
        """Looks after the configuration file, where there is one."""
        self._clock = clock
        self._monotonic = monotonic
        self._stop = threading.Event()
        self._inbox: deque[tuple[Callable[[Index], None], Barrier | None]] = deque()
        self._waiting: list[Barrier] = []
        self._session: Session | None = None
        self._priority = IdlePriority()
        self._was_ready = False
        self._audited: Audit | None = None
        self._audit_at = 0.0
        self._clocks = ClockWatch(clock)
        self._was_writable = False

    # For any thread

    @property
    def clock(self) -> Callable[[], float]:
        """The wall clock it goes by (Unix seconds)."""
        return self._clock

    def stop(self) -> None:
        """End after what the kernel holds now has been applied. Any thread may call it, and a signal handler."""
        self._stop.set()
        self.wake()

    def wake(self) -> None:
        """Let the writer take its next turn now."""
        if (session := self._session) is not None:
            session.watcher.wake()

    @property
    def stopping(self) -> bool:
        """It has been told to stop."""
        return self._stop.is_set()

    def settle(self, timeout: float) -> bool:
        """Wait until all that happened before this call is in the index; False after `timeout` seconds."""
        deadline = self._monotonic() + timeout
        while (left := deadline - self._monotonic()) > 0:
            session = self._session
            if session is None:  # between two lives; the next begins with a look at everything
                if self._stop.wait(min(left, POLL / 10)):
                    return False
                continue
            barrier = session.watcher.barrier()
            while session is self._session and (left := deadline - self._monotonic()) > 0:
                if barrier.wait(min(left, POLL)):
                    return True
        return False

    def post(self, work: Callable[[Index], None], *, hurry: bool = True) -> Barrier:
        """Let the writer do `work`; the barrier is released once all that follows from it is in the index.

        Without `hurry` nobody waits: it is never released, and verification goes on at its own pace.
        """
        barrier = Barrier() if hurry else None
        self._inbox.append((work, barrier))
        self.wake()
        return barrier or Barrier()

    # The writer's

    def run(self) -> None:
        """Serve until `stop`, session after session. Raises what waiting cannot mend (IndexerError, OSError)."""
        self.board.update(started=int(self._clock()))
        backoff = Backoff(FIRST_DELAY)
        while not self._stop.is_set():
            try:
                with self._open_session() as session:
                    self._serve(session, backoff)
            except GapError as gap:
                self._degrade(gap.reason, gap.detail)
            except Exception as error:
                reason = trouble_of(error) or lost_root(error) or contradiction(error)
                # What was never well is for whoever started us to mend; only room comes back by itself.
                if reason is None or (reason != "disk_full" and not self._was_ready):
                    self._stop.set()  # nobody shall wait for what will not come
                    raise
                self._degrade(reason, str(error))
            finally:
                self._session = None
            self.beat = self._monotonic()
            if not self._stop.is_set():
                self._stop.wait(backoff.next())

    def _serve(self, session: Session, backoff: Backoff) -> None:
        """One session. All of the service is this loop."""
        watcher, index = session.watcher, session.index
        self._begin(session)
        turns = batches(
            watcher,
            index,
            self._stop,
            hurried=self._hurried,
            expecting=lambda: session.supervisor.listening,
            monotonic=self._monotonic,
        )
        for batch in turns:
            self._supervise(session, batch)
            self._follow_policy(index, at_once=bool(batch.barriers) or self._hurried())
            self._do_requests(index)
            if not self._apply(session, batch):
                return
            self._become_ready(index, backoff)
            self._release(index, batch)
            self._audit(session, batch)

    def _begin(self, session: Session) -> None:
        """Doubt what may have changed unseen: everything the first time, else directories whose times say so."""
        index = session.index
        self.board.watch(session.watcher)
        noted = index.meta.get("last_event")
        self.board.update(ready=False, last_event=int(noted) if noted else None)
        if index.complete:
            index.doubt_everything()
            for _ in quick_pass(index):
                self.beat = self._monotonic()
                if self._stop.is_set():
                    return
        else:
            index.request_rescan(Rescan(ROOT_ID, tree=True, reason="first"))
        self._verify = index.complete
        self._publish(index, None)
        self._session = session

    def _supervise(self, session: Session, batch: Batch) -> None:
        """Ask whether events still come and the root is still ours, and doubt what is not watched. Raises GapError."""
        self.beat = now = self._monotonic()
        session.supervisor.follow_mounts(session.index, batch)
        named = session.supervisor.look(session.index, batch, now)
        if named is not None:
            self.board.update(unwatched_paths=named)
        session.supervisor.check(batch, now, ready=self.board.snapshot.ready and not self._stop.is_set())
        if session.supervisor.root.look(now):
            self._clocks.look(now)
            self._note_writable(session.supervisor.root)

    def _note_writable(self, root: RootWatch) -> None:
        """Say when a filesystem that took writes takes none any more; one that never did is as it should be."""
        if not root.read_only:
            self._was_writable = True
            self.board.recover("read_only")
        elif self._was_writable:
            self._degrade("read_only", "the filesystem of the root is mounted read-only now")

    def _follow_policy(self, index: Index, *, at_once: bool) -> None:
        """Put a changed configuration in force; an invalid one degrades the service and changes nothing."""
        found = None if self.reload is None else self.reload.changed(self._monotonic(), at_once=at_once)
        if self.reload is None or found is None:
            return
        if isinstance(found, str):
            self._degrade("policy_error", found)
            return
        old, new = self.reload.store.config, found.config
        if any(getattr(old.store, name) != getattr(new.store, name) for name in OF_THE_SESSION):
            self.reload.adopt(found)
            raise GapError("session_changed", "the settings of [store] have changed")
        index.adopt(index_policy(new), ignores_changed=old.store.ignore != new.store.ignore)
        self.reload.adopt(found)
        self.board.recover("policy_error")
        log.info("the changed policy is in force", extra=self._named())
        if waits := ", ".join(f"[{name}]" for name in self.reload.waiting):
            log.warning("%s: changed, and waits for SIGHUP (systemctl reload) or a restart", waits, extra=self._named())

    def _do_requests(self, index: Index) -> None:
        while self._inbox:
            work, barrier = self._inbox.popleft()
            work(index)
            if barrier is not None:
                self._waiting.append(barrier)

    def _apply(self, session: Session, batch: Batch) -> bool:
        """Apply the batch, trying as often as it takes (the watcher bounds what comes in meanwhile); False: stopped."""
        index = session.index
        if not (batch or index.busy or index.unsettled or index.unproven):
            if self.board.snapshot.lag_seconds or self.board.snapshot.pending:
                self._publish(index, None)
            return True
        hurried = self._hurried()
        index.parallel = hurried or not index.complete
        self._priority.set(idle=not batch and merely_verifying(index) and not hurried)
        done = self._write(session, batch, budget(index, hurried=hurried))
        if done is None:
            return False
        self.board.recover(*MENDING)
        if batch.hints and (done.added or done.updated or done.removed):
            self.board.update(last_event=int(batch.at))
        self._publish(index, batch)
        if done.added or done.updated:
            self.on_change()
        return True

    def _write(self, session: Session, batch: Batch, names: int) -> Applied | None:
        """Apply the batch as soon as that works; None when the service is stopped before."""
        backoff = Backoff(FIRST_DELAY)
        while True:
            try:
                return session.index.apply(batch, names)
            except Exception as error:
                reason = trouble_of(error)
                if reason is None:
                    raise
                self._degrade(reason, str(error))
            self.beat = self._monotonic()
            late = max(self._clock() - batch.at, 0.0)
            self.board.update(pending=session.index.pending + 1, lag_seconds=late)
            if self._stop.wait(backoff.next()):
                log.warning("stopping with changes that could not be written; the next start finds them again")
                return None
            session.supervisor.root.check()

    def _release(self, index: Index, batch: Batch) -> None:
        """Answer those who wait, once what they wait for is in the index, verification included."""
        self._waiting += batch.barriers
        if self._waiting and self.board.snapshot.ready and index.settled and not self._inbox:
            for barrier in self._waiting:
                barrier.release()
            self._waiting.clear()

    def _become_ready(self, index: Index, backoff: Backoff) -> None:
        """Events flow and no directory waits whose names have changed: say so, and verify every file behind it."""
        if self.board.snapshot.ready or not index.complete or index.busy:
            return
        if self._verify:
            index.request_rescan(Rescan(ROOT_ID, tree=True, reason="verify"), verify=True)
        backoff.reset()
        self._was_ready = True
        self.board.recover(*(reason for reason in self.board.snapshot.reasons if reason != "policy_error"), "")
        if absent := index.directories.absent:
            missing = "; ".join(f"{show_name(path)}: {each.absent}" for path, each in absent.items())
            self._degrade("filesystem_missing", missing)
        self.board.update(ready=True)
        self._publish(index, None)
        on_ready, self._on_ready = self._on_ready, lambda: None
        on_ready()

    def _audit(self, session: Session, batch: Batch) -> None:
        """At rest, compare a few names a second with the tree, and publish how true the index is."""
        now = self._monotonic()
        at_rest = not batch and batch.drained and self.board.snapshot.ready and session.index.settled
        if not at_rest or now < self._audit_at or self._stop.is_set():
            return
        if self._audited is None or self._audited.index is not session.index:
            drift = self._audited.drift if self._audited is not None else None
            self._audited = Audit(session.index, Random(), drift)  # noqa: S311 - a sample, not a secret
        hits = self._audited.step()
        rest = min(SUSPECT_SECONDS, AUDIT_SECONDS) if self._audited.suspects else AUDIT_SECONDS
        self._audit_at = now - EARLY + rest
        if hits:
            words = "drift: %d names differed with no event to tell; their directories are listed again"
            log.warning(words, hits, extra=self._named())
        self.board.update(drift=asdict(self._audited.drift))

    def _hurried(self) -> bool:
        return bool(self._waiting or self._inbox)

    def _degrade(self, reason: str, detail: str) -> None:
        if reason not in self.board.snapshot.reasons:
            log.warning("degraded: %s: %s (%s)", reason, REASONS[reason], detail, extra=self._named())
        self.board.degrade(reason, detail)

    def _named(self) -> dict[str, str]:
        """Return which store a line of the log is about."""
        return {} if self.reload is None else {"store": str(self.reload.store.root)}

    def _publish(self, index: Index, batch: Batch | None) -> None:
        """Let other threads see how it stands."""
        done = index.applied
        changes: dict[str, object] = {"lag_seconds": 0.0}
        if batch is not None and batch.events:
            changes["lag_seconds"] = max(self._clock() - batch.at, 0.0)
        if batch is not None and batch.rescans:
            changes["rescans"] = self.board.snapshot.rescans + len(batch.rescans)
        if not index.busy and (reconciled := index.meta.get("last_reconcile")):
            changes["last_reconcile"] = int(reconciled)
        self.board.update(
            pending=index.pending,
            added=done.added,
            updated=done.updated,
            removed=done.removed,
            seen=done.seen,
            pass_reason=index.pass_running,
            pass_directories=index.pass_directories,
            **changes,
        )
