"""The Prometheus text: figures of a store, labelled by class and tier and by fixed words, never by a path."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from indexer._version import __version__
from indexer.enforce.ledger import Ledger
from indexer.service.state import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.store import Store

STATES = ("clean", "reconciling", "degraded", "stopped")

_COUNTERS = {
    "events": "Events that the kernel reported since the service started.",
    "overflows": "Times that events were lost and everything was looked at again.",
    "rescans": "Doubts since the service started: overflows, folded names, restarts, requests.",
}
_GAUGES = {
    "pending": ("pending_directories", "Directories that wait to be listed."),
    "unwatched": ("unwatched_directories", "Directories for which the kernel had no watch left."),
    "folded": ("folded_names", "Times that the watcher folded pending names into a listing of their directory."),
    "muted": ("muted_directories", "Busy directories outside of the store whose events the kernel keeps to itself."),
    "lag_seconds": ("lag_seconds", "From the last events to having them in the index."),
    "seen": ("scanned_files", "Files looked at since the service's index was opened."),
    "files": ("live_files", "Files in the index."),
    "directories": ("directories", "Directories in the index."),
    "due_files": ("due_files", "Files past their ttl now."),
    "due_bytes": ("due_bytes", "Allocated bytes of files past their ttl now."),
    "trash_bytes": ("trash_bytes", "Allocated bytes in the trash."),
    "last_event": ("last_event_timestamp_seconds", "When something last changed."),
    "last_reconcile": ("last_reconcile_timestamp_seconds", "When every file had been verified."),
}
_PER_CLASS = {
    "files": ("files", "Files of a class."),
    "bytes": ("bytes", "Apparent bytes of a class."),
    "allocated": ("allocated_bytes", "Allocated bytes of a class, each inode once."),
    "quota_high": ("quota_high_bytes", "Where the quota of a class starts to work."),
    "quota_low": ("quota_low_bytes", "Where the quota of a class stops to work."),
}


def metrics_text(store: Store, status: dict[str, Any], usage: list[dict[str, Any]]) -> bytes:
    """Return the exposition of a store: its `status` document, its rows of usage, its ledger, its disk."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collected:
        def collect(self) -> Iterator[Any]:
            return families(store, status, usage)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    return generate_latest(registry)


def families(store: Store, status: dict[str, Any], usage: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield every metric as a family of prometheus-client's."""
    yield from _service(status)
    yield from _classes(usage)
    yield from _shares(usage)
    yield from _runs(store, status)
    yield from _disk(store)


def _service(status: dict[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    yield InfoMetricFamily("indexer_build", "The program.", {"version": __version__, "backend": status["backend"]})
    yield GaugeMetricFamily("indexer_up", "A service runs and answers.", float(status["state"] != "stopped"))
    states = GaugeMetricFamily("indexer_state", "1 for the state that the store is in.", labels=["state"])
    for state in STATES:
        states.add_metric([state], float(status["state"] == state))
    yield states
    reasons = GaugeMetricFamily("indexer_degraded", "1 for each reason that holds now.", labels=["reason"])
    for reason in REASONS:
        reasons.add_metric([reason], float(reason in status["reasons"]))
    yield reasons
    for key, doc in _COUNTERS.items():
        yield CounterMetricFamily(f"indexer_{key}", doc, status[key])
    for key, (name, doc) in _GAUGES.items():
        if status[key] is not None:
            yield GaugeMetricFamily(f"indexer_{name}", doc, status[key])
    drift = CounterMetricFamily("indexer_drift", "What the audit found since the start.", labels=["kind"])
    for kind, count in sorted(status.get("drift", {}).items()):
        drift.add_metric([kind], count)
    yield drift


def _classes(usage: list[dict[str, Any]]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    for key, (name, doc) in _PER_CLASS.items():
        family = GaugeMetricFamily(f"indexer_{name}", doc, labels=["class", "tier"])
        for row in usage:
            if row.get(key) is not None and not row.get("trash"):
                family.add_metric([row["class"] or "", row.get("tier") or ""], row[key])
        yield family


def _shares(usage: list[dict[str, Any]]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(
        "indexer_quota_used_ratio", "Used share of the quota of a class, 1 where it starts to work.", labels=["class"]
    )
    for row in usage:
        if row.get("quota_high"):
            family.add_metric([row["class"]], row["allocated"] / row["quota_high"])
    yield family


def _runs(store: Store, status: dict[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    success = GaugeMetricFamily(
        "indexer_last_success_timestamp_seconds", "When a run last came to its end without an error.", labels=["kind"]
    )
    if store.ledger_path.exists():
        with Ledger.open(store.ledger_path, read_only=True) as ledger:
            totals = ledger.run_totals()
            thrash = ledger.thrash(int(time.time()) - store.config.ledger.thrash)
        again = GaugeMetricFamily(
            "indexer_thrash_files",
            "Files that a quota or a watermark took and somebody made again, within [ledger] thrash.",
            labels=["class"],
        )
        for rule in store.config.classes:
            again.add_metric([rule.name], thrash.get(rule.name, 0))
        yield again
        for name, doc, column in (
            ("runs", "Runs.", "runs"),
            ("removed_files", "Files removed.", "files_removed"),
            ("freed_bytes", "Allocated bytes given back to the disk.", "bytes_freed"),
            ("trashed_bytes", "Allocated bytes put into the trash.", "bytes_trashed"),
            ("removal_errors", "Files that a run failed to remove.", "errors"),
            ("refused_runs", "Runs that a guard or the mode refused.", "refused"),
        ):
            family = CounterMetricFamily(f"indexer_{name}", doc, labels=["kind"])
            for row in totals:
                family.add_metric([row["kind"]], row[column])
            yield family
        for row in totals:
            if row["last_success"] is not None:
                success.add_metric([row["kind"]], row["last_success"])
    yield success
    for name, doc, key in (
        ("job_next_timestamp_seconds", "When a job is due next.", "next"),
        ("job_last_timestamp_seconds", "When a job last began.", "last"),
        ("job_seconds", "How long a job last took.", "seconds"),
    ):
        jobs = GaugeMetricFamily(f"indexer_{name}", doc, labels=["job_name"])
        for job in status["jobs"]:
            if job.get(key) is not None:
                jobs.add_metric([job["name"]], job[key])
        yield jobs


def _disk(store: Store) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    space = GaugeMetricFamily("indexer_disk_used_ratio", "Used share of a filesystem, as df.", labels=["filesystem"])
    free = GaugeMetricFamily("indexer_disk_free_bytes", "Free for ordinary users.", labels=["filesystem"])
    inodes = GaugeMetricFamily("indexer_inodes_used_ratio", "Used share of its inodes.", labels=["filesystem"])
    for number, name in enumerate(("", *store.config.store.filesystems)):
        label = [str(number)]  # in the order of [store] filesystems; 0 is the root's own
        try:
            found = os.statvfs(store.root / name)
        except OSError:
            continue  # not mounted now: a figure that is missing says so
        used = found.f_blocks - found.f_bfree
        if found.f_blocks:
            space.add_metric(label, used / max(1, used + found.f_bavail))
            free.add_metric(label, found.f_bavail * found.f_frsize)
        if found.f_files:
            inodes.add_metric(label, 1 - found.f_ffree / found.f_files)
    yield from (space, free, inodes)
