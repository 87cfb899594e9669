"""Several filesystems in one store, and mounts that come and go below it while the service runs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.capabilities import needs
from tests.mounts import bind, unmount
from tests.program import PATIENCE, Program, Service

pytestmark = needs("CAP_SYS_ADMIN", "fs:tmpfs")
Mount = Callable[..., Path]

CLASSES = """
[guards]
min_files = 100
""" + "".join(
    f'\n[[class]]\nname = "{name}"\nmatch = ["{name}/**"]\nttl = "7d"\narrival_floor = false\nmin_age = "0s"\n'
    for name in ("uploads", "frames")
)


def configure(store: Path, *filesystems: str) -> None:
    """Write a policy that names these filesystems."""
    fresh = store / "new.toml"
    fresh.write_text(f'[store]\nmode = "enforce"\nfilesystems = {json.dumps(filesystems)}\n{CLASSES}')
    fresh.rename(store / "indexer.toml")


@pytest.fixture
def store(tmp_path: Path, mount: Mount) -> Iterator[Path]:
    """Return a store with uploads on one filesystem and frames on another, a file due on each."""
    store = tmp_path / "store"
    for name in ("uploads", "frames"):
        disk = mount("tmpfs")
        (disk / "job").mkdir()
        (disk / "job" / "old").write_bytes(b"12345")
        os.utime(disk / "job" / "old", (1, 1))
        (store / name).mkdir(parents=True)
        bind(disk, store / name)
    (store / "top").write_bytes(b"")
    configure(store, "uploads", "frames")
    yield store
    for name in ("uploads", "frames"):
        if os.path.ismount(store / name):
            unmount(store / name)


def until(service: Service, *reasons: str) -> None:
    """Go on once the service gives just these reasons."""
    deadline = time.monotonic() + PATIENCE
    while (status := service.status())["reasons"] != list(reasons) or status["pending"]:
        assert time.monotonic() < deadline, status


def test_a_mount_that_comes_and_goes_is_noted(program: Program, tmp_path: Path) -> None:
    """No event tells it: what lies below is no longer the store's while it is covered, and is again afterwards."""
    store = tmp_path / "store"
    (store / "a" / "place").mkdir(parents=True)
    (store / "a" / "place" / "below").write_bytes(b"1")
    with program.watch(store) as service:
        service.settle()
        assert set(program.indexed(store)) == {b"a/place/below"}
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", store / "a" / "place"], check=True)
        try:
            (store / "a" / "place" / "foreign").write_bytes(b"")
            service.settle()
            status = service.status()
            assert (status["skipped_mounts"], status["state"]) == (["a/place"], "clean")
            assert program.indexed(store) == {}
        finally:
            unmount(store / "a" / "place")
        service.settle()
        assert service.status()["skipped_mounts"] == []
        (store / "a" / "place" / "new").write_bytes(b"2")
        service.settle()
        assert program.differences(store) == {}
        assert len(program.indexed(store)) == 2


def test_each_filesystem_has_its_own_trash(program: Program, store: Path) -> None:
    """A removal never leaves its filesystem, and comes back to it."""
    with program.watch(store) as service:
        service.settle()
        result = program.json("-C", store, "cleanup", "-y")
        assert (result["files_removed"], result["errors"], result["kept"]) == (2, [], {})
        for name in ("uploads", "frames"):
            (control,) = (store / name).glob(".indexer-*")
            assert control.stat().st_mode & 0o777 == 0o700
            assert len(list((control / "trash").iterdir())) == 1
        assert list((store / ".indexer" / "trash").glob("*")) == []
        restored = program.json("restore", "-y", store / "frames/job/old", store / "uploads/job/old")
        assert (len(restored["restored"]), restored["errors"]) == (2, [])
        service.settle()
        assert set(program.indexed(store)) == {b"frames/job/old", b"uploads/job/old", b"top"}


def test_one_that_goes_missing_keeps_its_rows_and_stops_nobody(program: Program, store: Path) -> None:
    """Detached while the service runs: the state says so, the others go on, and nothing of it is removed."""
    disk = Path(os.fspath(store.parent / "kept"))
    disk.mkdir()
    bind(store / "frames", disk)
    try:
        with program.watch(store) as service:
            service.settle()
            subprocess.run(["umount", "--lazy", store / "frames"], check=True)
            (store / "frames" / "stranger").write_bytes(b"not the disk")
            until(service, "filesystem_missing")
            (store / "uploads" / "new").write_bytes(b"1")
            service.settle()
            expected = {b"frames/job/old", b"uploads/job/old", b"uploads/new", b"top"}
            assert set(program.indexed(store)) == expected
            program.run("scan", store, exits=1)
            assert set(program.indexed(store)) == expected
            result = program.json("-C", store, "cleanup", "-y")
            assert set(result["classes"]) == {"uploads"}
            assert (result["files_removed"], result["kept"]) == (1, {"not_mounted": 1})
            assert (store / "frames" / "stranger").exists()
            bind(disk, store / "frames")
            until(service)
            (store / "frames" / "job" / "new").write_bytes(b"1")
            service.settle()
            assert set(program.indexed(store)) == {b"frames/job/old", b"frames/job/new", b"uploads/new", b"top"}
            assert service.status()["state"] == "clean"
    finally:
        unmount(disk)


def test_one_that_is_not_mounted_at_the_start(program: Program, store: Path) -> None:
    """A scan, a run and `doctor` name it; a run of somebody without a service leaves its rows alone too."""
    program.run("scan", store)
    unmount(store / "frames")
    scanned = program.json("scan", store, exits=1)
    assert [entry["path"] for entry in scanned["skipped"]] == ["frames"]
    assert "not mounted" in scanned["skipped"][0]["reason"]
    assert set(program.indexed(store)) == {b"frames/job/old", b"uploads/job/old", b"top"}
    checks = {check["name"]: check for check in program.json("-C", store, "doctor", exits=1)["checks"]}
    assert checks["mount (frames)"]["ok"] is False
    assert "mount it" in checks["mount (frames)"]["remedy"]
    assert checks["mount (uploads)"]["ok"] is True
    result = program.json("-C", store, "cleanup", "-y")
    assert (result["files_removed"], result["kept"]) == (1, {"not_mounted": 1})
    assert set(program.indexed(store)) == {b"frames/job/old", b"top"}


def test_a_running_service_takes_up_a_filesystem_that_is_named_now(program: Program, store: Path) -> None:
    """A changed configuration is picked up: what was skipped is indexed, watched and has its trash."""
    configure(store, "frames")
    with program.watch(store) as service:
        service.settle()
        assert service.status()["skipped_mounts"] == ["uploads"]
        configure(store, "uploads", "frames")
        service.settle()
        until(service)
        (store / "uploads" / "job" / "new").write_bytes(b"1")
        service.settle()
        assert set(program.indexed(store)) == {b"frames/job/old", b"uploads/job/old", b"uploads/job/new", b"top"}
