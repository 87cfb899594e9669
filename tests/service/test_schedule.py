"""The schedule: what runs when, once, and what `status` says of it."""

from __future__ import annotations

import itertools
import os
import pickle
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce.ledger import Ledger
from indexer.manager import StorageManager
from indexer.service.jobs import is_due
from indexer.service.jobstore import job_state
from indexer.service.schedule import Schedule, fire
from indexer.service.triggers import next_after, trigger_of
from indexer.store import Store, open_store
from tests.program import Program
from tests.service.scheduled import OLD, cleanups, expired, scheduled
from tests.waiting import until


def at(text: str) -> int:
    """Return Unix seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("when", "zone", "after", "following"),
    [
        ("every 10 minutes", "UTC", "2026-01-01T00:03", "2026-01-01T00:13"),
        ("every day at 02:00", "UTC", "2026-01-01T01:59:59", "2026-01-01T02:00"),
        ("every day at 02:00", "UTC", "2026-01-01T02:00", "2026-01-02T02:00"),
        ("every day at 02:00", "Europe/Berlin", "2026-01-01T00:00", "2026-01-01T01:00"),
        ("30 1 * * *", "Europe/Berlin", "2026-06-01T00:00", "2026-06-01T23:30"),
        ("0 0 * * 0", "UTC", "2026-01-01T00:00", "2026-01-04T00:00"),  # a Sunday
        ("0 0 13 * 5", "UTC", "2026-01-01T00:00", "2026-01-02T00:00"),  # crontab(5): the 13th or a Friday
        ("0 0 13 * 5", "UTC", "2026-01-10T00:00", "2026-01-13T00:00"),
    ],
)
def test_the_next_time(when: str, zone: str, after: str, following: str) -> None:
    """Crontab's meaning, in the schedule's own zone."""
    assert next_after(when, zone, at(after)) == at(following)


def test_a_date_that_never_comes_has_no_next_time() -> None:
    """31 February."""
    assert next_after("0 0 31 2 *", "UTC", 0) is None
    assert is_due("0 0 31 2 *", "UTC", 0, time.time()) is False


def test_a_job_is_due_once_for_all_the_times_that_were_missed() -> None:
    """Three days down are one run; a run since then is none."""
    last = at("2026-01-01T02:00")
    now = at("2026-01-04T09:00")
    assert is_due("every day at 02:00", "UTC", last, now)
    assert not is_due("every day at 02:00", "UTC", at("2026-01-04T02:00"), now)
    assert not is_due("every day at 02:00", "UTC", last, at("2026-01-02T02:01"), jitter=120)


def backdate(store: Store) -> None:
    """Let the configuration be two days old, so that every daily time has been missed since."""
    assert store.config.path is not None
    os.utime(store.config.path, (time.time() - OLD,) * 2)


def test_what_was_missed_is_done_at_the_start_and_only_once(tmp_path: Path) -> None:
    """Down over 02:00: one run when it is back, none at the next start."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')
    backdate(store)
    with Schedule(store, heartbeat=0.05):
        until(lambda: [run for run in cleanups(store) if run.finished] if store.ledger_path.exists() else [], "a run")
    assert [(run.files_removed, run.refused, run.interrupted) for run in cleanups(store)] == [(3, None, False)]
    with Schedule(store, heartbeat=0.05) as again:
        for _ in range(5):
            fire(store.id, "cleanup")
        (job,) = again.rows()
    assert len(cleanups(store)) == 1
    assert (job["name"], job["last"], job["result"]) == ("cleanup", cleanups(store)[0].started, "done")
    assert job["next"] == next_after("every day at 02:00", "UTC", time.time())


def test_report_mode_plans_and_records_and_removes_nothing(tmp_path: Path) -> None:
    """The run is in the ledger with what it would have done, and every file is there."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"', mode="report")
    backdate(store)
    with Schedule(store, heartbeat=0.05) as schedule:
        until(lambda: store.ledger_path.exists() and cleanups(store), "a run")
        until(lambda: schedule.rows()[0]["result"] == "report", "its result")
    (run,) = cleanups(store)
    assert (run.refused, run.planned, run.files_removed) == ("mode", 3, 0)
    assert len(os.listdir(store.root / "uploads")) == 3


def test_a_new_schedule_waits_for_its_first_time(tmp_path: Path) -> None:
    """Nothing is caught up from before the schedule was written."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')
    with Schedule(store) as schedule:
        fire(store.id, "cleanup")
        (job,) = schedule.rows()
    assert not cleanups(store)
    assert (job["last"], job["result"]) == (None, None)
    assert job["next"] > time.time()


def test_no_two_runs_overlap(tmp_path: Path) -> None:
    """While somebody holds the run lock a firing does nothing, and is made good when the lock is free."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')
    backdate(store)
    schedule = Schedule(store)
    schedule.attempt("cleanup")
    expired(store.root, 2, "more")
    with Ledger.open(store.ledger_path) as ledger:
        ledger._write(lambda connection: connection.execute("UPDATE run SET started = started - 86401"))
    with store.run_lock():
        schedule.attempt("cleanup")
        assert len(cleanups(store)) == 1
    schedule.attempt("cleanup")
    assert [run.files_removed for run in cleanups(store)] == [3, 2]


def test_what_cannot_begin_is_said_and_tried_again(tmp_path: Path) -> None:
    """A damaged index: `failed` with the reason, and nothing goes; mended: done."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')
    backdate(store)
    index = store.index_path.read_bytes()
    store.index_path.write_bytes(b"this is not a database, but long enough to look like one" * 100)
    schedule = Schedule(store)
    schedule.attempt("cleanup")
    (job,) = schedule.rows()
    assert (job["result"], job["running"]) == ("failed", False)
    assert "index" in job["detail"]
    store.index_path.write_bytes(index)
    schedule.attempt("cleanup")
    assert [(job["result"], job["detail"]) for job in schedule.rows()] == [("done", "")]
    assert os.listdir(store.root / "uploads") == []


def test_a_stored_job_can_run_nothing_else() -> None:
    """Whoever may write to the job store cannot make the service call or unpickle what it likes."""
    state: dict[str, Any] = {
        "version": 1, "id": "x", "func": "indexer.service.schedule:fire", "executor": "default",
        "trigger": trigger_of("0 2 1 * 0", "Europe/Berlin", 60), "args": ("id", "cleanup"), "kwargs": {}, "name": "x",
        "next_run_time": datetime.now(UTC),
    }  # fmt: skip
    for protocol in (4, pickle.HIGHEST_PROTOCOL):
        assert job_state(pickle.dumps(state, protocol))["args"] == ("id", "cleanup")
    wrongs: list[Any] = [
        {**state, "func": "os:system", "args": ("true",)},
        {**state, "executor": "other"},
        {**state, "trigger": re.compile("x")},
        [],
    ]
    for wrong in wrongs:
        with pytest.raises(pickle.UnpicklingError):
            job_state(pickle.dumps(wrong))

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    with pytest.raises(pickle.UnpicklingError):
        job_state(pickle.dumps({**state, "kwargs": {"x": Evil()}}))


def test_the_service_runs_its_schedule(program: Program, tmp_path: Path) -> None:
    """`watch`: a cleanup every second is in the ledger and in `status`; the verifying pass too; files are gone."""
    store = scheduled(tmp_path / "store", 'cleanup = "every second"\nreconcile = "every 2 seconds"', scan=False)
    with program.watch(store.root) as service:
        until(lambda: store.ledger_path.exists() and cleanups(store), "a run")
        until(lambda: not os.listdir(store.root / "uploads"), "the removal")
        jobs = until(
            lambda: {job["name"]: job for job in service.status()["jobs"] if job["result"] == "done" and job["next"]},
            "the jobs",
        )
        assert jobs["cleanup"]["last"] >= cleanups(store)[0].started
        until(lambda: len(cleanups(store)) >= 2, "the second run")
        assert "job cleanup" in program.run("status", store.root).stdout
    runs = cleanups(store)
    assert [run.files_removed for run in runs[:2]] == [3, 0]
    assert all(later.started > before.started for before, later in itertools.pairwise(runs))
    stopped = program.json("status", store.root, exits=1)["jobs"]
    assert {job["name"]: (job["next"], job["result"]) for job in stopped} == {
        "cleanup": (None, "done"),
        "reconcile": (None, None),
    }


def test_no_schedule_starts_nothing(program: Program, tmp_path: Path) -> None:
    """`--no-schedule`: only watching."""
    store = scheduled(tmp_path / "store", 'cleanup = "every second"')
    backdate(store)
    with program.watch(store.root, "--no-schedule") as service:
        service.settle()
        assert service.status()["jobs"] == []
    assert not cleanups(store)


def test_a_guard_that_refuses_degrades_until_a_run_goes_through(program: Program, tmp_path: Path) -> None:
    """Health says that nothing is being removed; a run that a guard lets pass takes it back."""
    store = scheduled(tmp_path / "store", 'cleanup = "every second"', files=5, scan=False)
    assert store.config.path is not None
    policy = store.config.path.read_text()
    store.config.path.write_text(policy.replace("max_fraction = 1.0", "max_fraction = 0.1\nmin_files = 2"))
    with program.watch(store.root) as service:
        status = until(lambda: (now := service.status())["state"] == "degraded" and now, "degraded")
        assert status["reasons"] == ["guard_refused"]
        assert len(os.listdir(store.root / "uploads")) == 5
        store.config.path.write_text(policy)
        StorageManager.of(open_store(store.root)).run_cleanup()
        until(lambda: service.status()["state"] == "clean", "clean", patience=45)
