"""What the service is in: kept by the writer thread, published as a frozen value that other threads only read."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from indexer.index.drift import Drift
from indexer.watch.source import WatchCounters

if TYPE_CHECKING:
    from indexer.watch.source import Watcher

State = Literal["clean", "reconciling", "degraded", "stopped"]
HEALTHY = ("clean", "reconciling")
"""States for which `status` exits 0."""

REASONS = {
    "disk_full": "the filesystem that holds the index is full; changes wait and are retried",
    "index_error": "the index cannot be written; changes wait and are retried",
    "no_resources": "the system has no descriptors or memory left for the service; changes wait and are retried",
    "policy_error": "the configuration was changed and is not valid; what was in force before still is",
    "root_missing": "the store's root is not at its place; nothing is concluded from that",
    "root_changed": "another directory stands at the store's place; nothing is concluded from it",
    "filesystem_missing": "a filesystem that the store names is not mounted; its rows stay, nothing of it is removed",
    "filesystem_error": "the kernel reports that the filesystem has found an error in itself; everything is verified",
    "session_changed": "mounts of the store, or settings of [store], have changed; the watcher starts again",
    "read_only": "the store's filesystem takes no writes any more: remounted so, or after an error",
    "clock_stepped": "the wall clock was set by more than a minute; everything is verified",
    "suspended": "the machine slept; everything is verified",
    "emitter_dead": "the thread that reads the kernel's events died; it is started again and everything is verified",
    "watch_limit": "the kernel has no watch left for some directories; they are polled; `doctor` says what to raise",
    "canary_failed": "an open and close of the root was not seen; the watcher is started again",
    "guard_refused": "a guard refused the last run; nothing was removed, and nothing will be until a run goes through",
    "not_answering": "the service holds the store and does not answer: stopped in mid-work, or out of memory",
}
"""Every reason for `degraded`, and what it means."""

NOT_THE_SESSIONS = frozenset({"guard_refused"})
"""Reasons that a new watcher does not mend."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at one moment. Times are Unix seconds, durations are seconds."""

    state: State = "reconciling"
    reasons: tuple[str, ...] = ()
    """Enumerated in `REASONS`."""
    details: tuple[str, ...] = ()
    """What exactly went wrong, one for each reason."""
    backend: str = ""
    backend_reason: str = ""
    pending: int = 0
    """Directories that wait to be listed, plus one while a batch cannot be written."""
    lag_seconds: float = 0.0
    """From taking the last batch of events to having it in the index; grows while a batch cannot be written."""
    overflows: int = 0
    unwatched: int = 0
    """Directories for which the kernel had no watch left; they are looked into every 30 s, and before `settle`."""
    unwatched_paths: tuple[str, ...] = ()
    """The first of them, relative to the store."""
    folded: int = 0
    """How often the watcher folded pending names into a listing of their directory, to bound memory."""
    muted: int = 0
    """Busy directories outside of the store whose events the kernel keeps to itself."""
    ignored_reads: int = 0
    """Uses that were none, by `ignore_readers`."""
    unknown_readers: int = 0
    """Uses by processes that had ended before they could be looked at, where `ignore_readers` is set: they count."""
    rescans: int = 0
    """Doubts since the start: overflows, folded names, restarts, requests."""
    events: int = 0
    last_event: int | None = None
    last_reconcile: int | None = None
    """When every file had been verified."""
    pass_reason: str | None = None
    """Why the whole tree is being listed now: first, verify, overflow …; None while it is not."""
    pass_directories: int = 0
    """How many directories that has listed so far."""
    started: int = 0
    ready: bool = False
    added: int = 0
    updated: int = 0
    removed: int = 0
    seen: int = 0
    """Files stat'ed since the service's index was opened."""
    drift: dict[str, int] = field(default_factory=lambda: asdict(Drift()))
    """What the audit compared and found since the start: checked, missed, ghost, wrong, late (see `index.audit`)."""


@dataclass(slots=True)
class Board:
    """The writer's own copy; `snapshot` is what others see (replacing a reference is atomic)."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """The writer publishes how it stands, and the schedule what its runs say."""
    _troubles: dict[str, str] = field(default_factory=dict)
    _watcher: Watcher | None = None
    _before: tuple[int, int] = (0, 0)
    """Events and overflows of the watchers that were replaced."""

    def watch(self, watcher: Watcher) -> None:
        """Count on with a new watcher."""
        self._before = self._counted()
        self._watcher = watcher
        self.update(backend=watcher.name, backend_reason=watcher.reason)

    def _counted(self) -> tuple[int, int]:
        events, overflows = self._before
        if self._watcher is not None:
            events += self._watcher.counters.events
            overflows += self._watcher.counters.overflows
        return events, overflows

    def update(self, **changes: object) -> None:
        """Publish `changes` (fields of Snapshot); the state follows from the reasons and what is pending."""
        with self._lock:
            self._update(**changes)

    def _update(self, **changes: object) -> None:
        events, overflows = self._counted()
        counters = self._watcher.counters if self._watcher is not None else WatchCounters()
        unwatched = counters.unwatched
        self.snapshot = replace(
            self.snapshot,
            events=events,
            overflows=overflows,
            unwatched=unwatched,
            folded=counters.folded,
            muted=counters.muted,
            ignored_reads=counters.ignored_reads,
            unknown_readers=counters.unknown_readers,
            **changes,  # type: ignore[arg-type]
        )
        if unwatched:
            self._troubles["watch_limit"] = f"{unwatched:,} directories are not watched"
        else:
            self._troubles.pop("watch_limit", None)
        if said := counters.filesystem_error:
            self._troubles["filesystem_error"] = f"{said}; look into the kernel's log, and run fsck or the like"
        self._judge()

    def degrade(self, reason: str, detail: str) -> None:
        """Publish a reason of `REASONS` and what exactly happened."""
        with self._lock:
            self._troubles[reason] = detail
            self._judge()

    def recover(self, *reasons: str) -> None:
        """Take reasons back (without an argument: all that a new session mends)."""
        with self._lock:
            for reason in reasons or tuple(self._troubles.keys() - NOT_THE_SESSIONS):
                self._troubles.pop(reason, None)
            self._judge()

    def _judge(self) -> None:
        state: State = "clean"
        if self._troubles:
            state = "degraded"
        elif self.snapshot.pending or not self.snapshot.ready or self.snapshot.backend == "poll":
            state = "reconciling"
        self.snapshot = replace(
            self.snapshot, state=state, reasons=tuple(self._troubles), details=tuple(self._troubles.values())
        )
