"""`indexer watch` as people run it: real processes, a real kernel, real trouble."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from indexer.errors import ServiceError
from indexer.manager import StorageManager
from indexer.service import client
from tests.capabilities import needs
from tests.program import PATIENCE, Program

BACKENDS = [pytest.param("fanotify", marks=needs("CAP_SYS_ADMIN")), "inotify", "native"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a plain directory with a few files."""
    root = tmp_path / "store"
    (root / "jobs" / "one").mkdir(parents=True)
    for number in range(5):
        (root / "jobs" / "one" / f"{number}.jpg").write_bytes(b"x" * number)
    return root


def churn(root: Path, rounds: int = 50) -> None:
    """Create, write, rename, remove, and move directories about."""
    for number in range(rounds):
        folder = root / f"d{number}"
        folder.mkdir()
        (folder / "kept").write_bytes(b"1" * number)
        (folder / "moved").write_bytes(b"2")
        (folder / "gone").write_bytes(b"3")
        (folder / "gone").unlink()
        (folder / "moved").rename(root / f"arrived{number}")
        if number % 3 == 0:
            folder.rename(root / f"renamed{number}")
        elif number % 5 == 1:
            (folder / "kept").unlink()
            folder.rmdir()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_index_equals_the_tree_after_settle(program: Program, store: Path, backend: str) -> None:
    """What happened before `settle` is in the index, path, size and mtime, with either backend."""
    with program.watch(store, "--backend", backend) as service:
        churn(store)
        service.settle()
        assert program.differences(store) == {}
        status = service.status()
        assert status["backend"] == backend
        assert status["backend_reason"]
        assert status["state"] == "clean"
        assert status["pending"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_commits_and_ends_with_0(program: Program, store: Path, number: int) -> None:
    """What was done just before the signal is in the index without a settle."""
    with program.watch(store) as service:
        churn(store, 20)
        assert service.stop(number) == 0
    assert program.differences(store) == {}
    assert not (store / ".indexer" / "control.sock").exists()
    status = program.json("status", store, exits=1)
    assert (status["state"], status["reasons"]) == ("stopped", [])
    assert status["files"] == len(program.indexed(store))


def test_a_killed_service_leaves_nothing_that_the_next_one_does_not_mend(program: Program, store: Path) -> None:
    """After kill -9: new names, vanished names and in-place writes are all found, without any event."""
    with program.watch(store) as service:
        service.settle()
        service.process.kill()
        service.process.wait(PATIENCE)
        churn(store, 10)
        with open(store / "jobs" / "one" / "4.jpg", "r+b") as stream:  # no directory changes
            stream.write(b"in place, longer than before")
        (store / "jobs" / "one" / "3.jpg").unlink()
        with program.watch(store) as next_service:
            next_service.settle()
            assert program.differences(store) == {}
            assert next_service.status()["state"] == "clean"
        service.process.returncode = 0  # the kill was ours


def test_a_second_service_is_refused(program: Program, store: Path) -> None:
    """One writer for each store: exit 5, and the first is not disturbed."""
    with program.watch(store) as service:
        refused = program.run("watch", store, exits=5)
        assert str(service.process.pid) in refused.stderr
        service.settle()


def test_a_scan_beside_a_service_is_done_by_it(program: Program, store: Path) -> None:
    """The command line never writes beside a service; the answer is the same as alone."""
    alone = program.json("scan", store)
    assert (alone["files"], alone["added"], alone["skipped"]) == (5, 5, [])
    with program.watch(store) as service:
        service.settle()
        (store / "new").write_bytes(b"12")
        service.settle()
        beside = program.json("scan", store)
        assert (beside["files"], beside["bytes"], beside["removed"]) == (6, 12, 0)
        assert program.json("scan", store, "--quick")["files"] == 6


def test_settle_without_a_service_says_how_to_start_one(program: Program, store: Path) -> None:
    """Nothing would ever answer: exit 1 at once."""
    program.run("scan", store)
    error = json.loads(program.run("settle", store, "--json", exits=1).stdout)["error"]
    assert error["code"] == "service"
    assert "indexer watch" in error["remedy"]


def test_settle_times_out_with_1(program: Program, store: Path) -> None:
    """A stopped writer (SIGSTOP) settles nothing: the timeout is an error, and after SIGCONT all is well."""
    with program.watch(store) as service:
        service.settle()
        service.process.send_signal(signal.SIGSTOP)
        try:
            program.run("settle", store, "--timeout", "0.3", exits=1)
            status = program.json("status", store, exits=1)
            assert (status["state"], status["reasons"]) == ("degraded", ["not_answering"])
        finally:
            service.process.send_signal(signal.SIGCONT)
        service.settle()


def test_who_wants_work_of_a_service_that_hangs_learns_it_soon(
    program: Program, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is greeted first, with a few seconds to answer: a plan goes by the index as it is, a scan is an error."""
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    with program.watch(store) as service:
        service.settle()
        service.process.send_signal(signal.SIGSTOP)
        try:
            assert StorageManager(store).plan()["totals"]["files"] == 0
            assert "going by the index as it is: the service did not answer `hello` in time" in caplog.text
            with pytest.raises(ServiceError, match="`hello`"):
                StorageManager(store).scan()
        finally:
            service.process.send_signal(signal.SIGCONT)
        service.settle()
        assert StorageManager(store).scan()["skipped"] == []


def test_status_before_any_scan_exits_4(program: Program, store: Path) -> None:
    """Initialised, never scanned."""
    program.run("init", store)
    assert json.loads(program.run("status", store, "--json", exits=4).stdout)["error"]["code"] == "not_scanned"


def test_the_service_manager_is_told(program: Program, store: Path, tmp_path: Path) -> None:
    """READY=1 arrives at NOTIFY_SOCKET once the index is there; STOPPING=1 at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        program.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        with program.watch(store) as service:
            assert manager.recv(100) == b"READY=1"
            assert service.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


@needs("CAP_SYS_ADMIN")
def test_a_full_disk_degrades_and_recovers_by_itself(program: Program, store: Path, mount: Callable[..., Path]) -> None:
    """The index's own 4 MB fill up: degraded, nothing lost; once there is room, all of it is in the index."""
    state = mount("tmpfs", size=4) / "state"
    (store / "indexer.toml").write_text(f'[store]\nstate = "{state}"\n')
    program.run("init", store)
    with program.watch(store) as service:
        service.settle()
        filler = state.parent / "filler"
        _fill(filler)
        folder = store / "burst"
        folder.mkdir()
        for number in range(3_000):
            (folder / f"{'n' * 60}{number}").write_bytes(b"1")
        status = service.status()
        for _ in range(200):
            if status["state"] == "degraded":
                break
            program.run("settle", store, "--timeout", "0.1", exits=1)
            status = service.status()
        assert (status["state"], status["reasons"]) == ("degraded", ["disk_full"])
        filler.unlink()
        service.settle()
        assert service.status()["state"] == "clean"
        assert program.differences(store) == {}


def _fill(path: Path) -> None:
    """Write until there is no room."""
    room = os.statvfs(path.parent)
    path.write_bytes(bytes(room.f_bavail * room.f_frsize))
    assert os.statvfs(path.parent).f_bavail == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_root_renamed_away_is_degraded_and_comes_back(program: Program, store: Path, backend: str) -> None:
    """The service says so, deletes no row, and picks up what happened meanwhile when the root is back."""
    with program.watch(store, "--backend", backend) as service:
        service.settle()
        away = store.rename(store.with_name("away"))
        status = _until(program, away, "degraded")
        assert status["reasons"] == ["root_missing"]
        assert status["files"] == 5
        (away / "meanwhile").write_bytes(b"1")
        away.rename(store)
        _until(program, store, "clean")
        service.settle()
        assert program.differences(store) == {}


def _until(program: Program, store: Path, state: str) -> dict[str, object]:
    """Ask for the status until the service is in `state`."""
    argv: list[str | Path] = [*program.argv, "status", store, "--json"]
    document: dict[str, object] = {}
    for _ in range(300):
        done = subprocess.run(argv, capture_output=True, check=False, env=program.environment)
        document = json.loads(done.stdout)
        if document.get("state") == state:
            return document
    raise AssertionError(f"never {state}: {document}")


@needs("CAP_SYS_ADMIN")
def test_a_read_only_filesystem_is_indexed_from_outside(
    program: Program, mount: Callable[..., Path], tmp_path: Path
) -> None:
    """Its state lies in XDG_STATE_HOME; watch, settle and status work without writing a byte to it."""
    root = mount("ext4")
    (root / "a").write_bytes(b"12345")
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    program.environment["XDG_STATE_HOME"] = str(tmp_path / "xdg")
    with program.watch(root) as service:
        service.settle()
        status = service.status()
        assert (status["state"], status["backend"]) == ("clean", "fanotify")
        assert program.indexed(root, ["size"])[b"a"] == (5,)


@needs("CAP_SYS_ADMIN")
def test_other_filesystems_are_skipped_and_listed(program: Program, store: Path) -> None:
    """A mount below the root is not entered, and status says which."""
    other = store / "other"
    other.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", other], check=True)
    try:
        (other / "foreign").write_bytes(b"")
        with program.watch(store) as service:
            service.settle()
            assert service.status()["skipped_mounts"] == ["other"]
            assert b"other/foreign" not in program.indexed(store)
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_corrupt_index_names_the_remedy_and_can_be_rebuilt(program: Program, store: Path) -> None:
    """Derived data: exit 1 with the way out, and the way out works."""
    program.run("scan", store)
    (store / ".indexer" / "index.db").write_bytes(b"this is not a database, but long enough to look like one" * 100)
    for command in ("scan", "watch", "status"):
        failed = program.run(command, store, exits=1)
        assert "indexer db rebuild" in failed.stderr
    program.run("db", "rebuild", store, exits=2)
    program.run("db", "rebuild", store, "-y")
    assert program.differences(store) == {}
    assert program.json("db", "check", store)["ok"] is True


def test_a_newer_index_is_not_touched(program: Program, store: Path) -> None:
    """An index of a later version: refused with its number, the file unchanged."""
    program.run("scan", store)
    index = store / ".indexer" / "index.db"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = index.read_bytes()
    for command in ("scan", "watch"):
        assert "schema 99" in program.run(command, store, exits=1).stderr
    assert index.read_bytes() == before
    assert program.json("db", "status", store)["schema"] == 99


@pytest.mark.parametrize("command", ["scan", "watch"])
def test_what_is_not_a_directory_is_a_usage_error(program: Program, tmp_path: Path, command: str) -> None:
    """Missing, or a file: exit 2 with its name, and nothing is made."""
    (tmp_path / "file").write_bytes(b"")
    assert "missing" in program.run(command, tmp_path / "missing", exits=2).stderr
    assert "file" in program.run(command, tmp_path / "file", exits=2).stderr
    assert sorted(os.listdir(tmp_path)) == ["file"]


@needs("CAP_SYS_ADMIN", "setpriv")
@pytest.mark.parametrize("command", ["scan", "watch"])
def test_an_index_that_may_not_be_opened_is_a_clear_error(program: Program, store: Path, command: str) -> None:
    """Exit 1 with the file and the kernel's word, no traceback."""
    program.run("scan", store)
    (store / ".indexer" / "index.db").chmod(0)
    lesser = Program(["setpriv", "--bounding-set=-dac_override,-dac_read_search", *program.argv], program.environment)
    assert lesser.run(command, store, exits=1).stderr.startswith(
        f"indexer: {store}/.indexer/index.db: Permission denied\n"
    )


def test_several_stores_are_served_by_one_process(program: Program, store: Path, tmp_path: Path) -> None:
    """`ready` once all are; each answers at its own socket; one signal ends them all."""
    other = tmp_path / "other"
    other.mkdir()
    with program.watch(store, str(other)) as service:
        (other / "a").write_bytes(b"1")
        program.run("settle", other)
        assert program.sql(other, "SELECT path FROM files") == [["a"]]
        assert program.json("status", other)["files"] == 1
        assert service.status()["files"] == 5


@needs("CAP_SYS_ADMIN", "setpriv")
def test_an_unreadable_directory_is_reported_and_its_rows_kept(program: Program, store: Path) -> None:
    """No permission: named under `skipped`, nothing concluded from it."""
    lesser = Program(["setpriv", "--bounding-set=-dac_override,-dac_read_search", *program.argv], program.environment)
    first = lesser.json("scan", store)
    assert (first["files"], first["skipped"]) == (5, [])
    (store / "jobs" / "one").chmod(0)
    second = lesser.json("scan", store, exits=1)
    assert second["skipped"] == [{"path": "jobs/one", "reason": "Permission denied", "unreadable": True}]
    assert (second["files"], second["removed"]) == (5, 0)


def test_a_hang_up_does_not_end_the_service(program: Program, tmp_path: Path) -> None:
    """`systemctl reload` sends SIGHUP; the configuration is followed anyway."""
    root = tmp_path / "store"
    root.mkdir()
    with program.watch(root) as service:
        service.process.send_signal(signal.SIGHUP)
        (root / "file").write_text("after")
        service.settle()
        assert service.status()["state"] == "clean"
        assert program.differences(root) == {}
