"""One bad day with real processes: start, load, kill -9, fallback, restart; and many threads on one manager."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.manager import StorageManager
from indexer.service import stale
from indexer.store import Store
from tests.program import PATIENCE, REPOSITORY, Program, Service
from tests.service.scheduled import expired, scheduled
from tests.waiting import until


@contextmanager
def writing(root: Path) -> Iterator[Callable[[int], None]]:
    """Let three threads write, rename and remove below `incoming`; yields what waits for so many more files."""
    stop, written = threading.Event(), [0, 0, 0]
    failed: list[Exception] = []

    def work(number: int) -> None:
        place = root / "incoming" / str(number)
        place.mkdir(parents=True)
        try:
            while not stop.is_set():
                name = place / str(written[number])
                name.with_suffix(".part").write_bytes(b"x" * (written[number] % 5000))
                name.with_suffix(".part").rename(name)
                if written[number] % 7 == 0:
                    name.unlink()
                written[number] += 1
        except Exception as error:  # noqa: BLE001 - raised below
            failed.append(error)

    def more(files: int) -> None:
        wanted = sum(written) + files
        until(lambda: failed or sum(written) >= wanted, "the load")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield more
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []


def health(service: Service) -> tuple[int, dict[str, Any]]:
    """Ask for /health; (0, {}) where nobody listens."""
    where = until(lambda: next((line.split()[1] for line in service.log if line.startswith("http: ")), ""), "HTTP")
    try:
        with urllib.request.urlopen(f"{where}/health", timeout=PATIENCE) as answer:  # noqa: S310 - our own
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except urllib.error.URLError:
        return 0, {}


def fallback(program: Program, store: Store) -> tuple[int, str]:
    """Run scripts/cleanup.sh as cron does; return exit code and all that it said."""
    launcher = store.root.parent / "indexer"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m indexer "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    done = subprocess.run(
        [REPOSITORY / "scripts" / "cleanup.sh", store.root, "1h"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**program.environment, "INDEXER": str(launcher)},
    )
    return done.returncode, done.stderr


def test_start_load_kill_fallback_restart(program: Program, tmp_path: Path) -> None:
    """Under load all the time: health says what is so, the fallback acts only while nobody serves, nothing is lost."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')
    uploads = store.root / "uploads"
    with writing(store.root) as more:
        with program.watch(store.root, "--http", "127.0.0.1:0") as first:
            more(300)
            assert health(first)[0] == 200
            program.run("watch", store.root, exits=5)
            assert fallback(program, store)[0] == 0
            assert len(os.listdir(uploads)) == 3
            first.process.kill()
            first.process.wait(PATIENCE)
            first.process.returncode = 0  # the kill was ours
        assert health(first)[0] == 0
        more(300)
        code, said = fallback(program, store)
        assert code == 0, said
        assert os.listdir(uploads) == []
        expired(store.root, 2)
        with program.watch(store.root, "--http", "127.0.0.1:0") as second:
            more(300)
            assert health(second)[0] == 200
            assert fallback(program, store) == (0, "")
            assert len(os.listdir(uploads)) == 2
            second.process.kill()
            second.process.wait(PATIENCE)
            second.process.returncode = 0
        assert fallback(program, store) == (0, "")  # its own run is younger than an hour
        assert len(os.listdir(uploads)) == 2
    with program.watch(store.root) as third:
        third.settle()
        assert program.differences(store.root) == {}
        assert third.status()["state"] == "clean"


def test_a_service_whose_canary_fails_is_replaced_by_the_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, and sees nothing of what happens: degraded is not healthy; a clean one beside it is left alone."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')
    said: dict[str, Any] = {"state": "clean", "reasons": [], "jobs": []}
    monkeypatch.setattr(stale, "request", lambda *_, **__: said)
    manager = StorageManager.of(store)
    assert manager.run_cleanup(if_stale=3600)["skipped"] is True
    said.update(state="degraded", reasons=["canary_failed"])
    assert manager.run_cleanup(if_stale=3600)["files_removed"] == 3


@pytest.mark.parametrize("served", [True, False])
def test_many_threads_share_a_manager(program: Program, tmp_path: Path, served: bool) -> None:
    """Usage, plan, explain, hold, lease, status and a dry run at once, beside a service and without one."""
    store = scheduled(tmp_path / "store", "", files=40)
    manager = StorageManager(store.root)
    failed: list[BaseException] = []
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            begin.wait(PATIENCE)
            path = f"uploads/{number}"
            manager.hold(path, ttl="1h", reason=str(number))
            with manager.lease(f"uploads/{number + 20}"):
                plan = manager.plan(scan=served)
                paths = {action["path"] for action in plan["actions"]}
                assert not {path, f"uploads/{number + 20}"} & paths
                assert next(row["files"] for row in manager.usage() if row["class"] == "uploads") == 40
                assert manager.explain(path)["blockers"] == ["held"]
                assert manager.run_cleanup(dry_run=True, scan=served)["dry_run"] is True
                assert manager.status()["files"] == 40
            assert manager.release(path)[1] == []
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    def all_at_once() -> None:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    if served:
        with program.watch(store.root) as service:
            service.settle()
            all_at_once()
    else:
        all_at_once()
    assert failed == []
    assert manager.report("holds") == []
