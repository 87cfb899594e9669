"""What doctor finds, and what it tells people to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from indexer.reports import machine, stray
from indexer.reports.doctor import doctor
from indexer.reports.machine import Check, mount_of
from indexer.store import Store, initialise_store
from tests.capabilities import needs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store that was never scanned."""
    return initialise_store(tmp_path, index_only=True)


def found(store: Store) -> dict[str, Check]:
    """Return the checks by name."""
    return {check.name: check for check in doctor(store)}


def test_every_check_that_fails_has_a_remedy(store: Store) -> None:
    """A finding without a way out is only a complaint."""
    checks = doctor(store)
    assert [check.name for check in checks if not check.ok and not check.remedy] == []
    assert {"kernel", "capabilities", "sqlite", "room", "trust", "permission", "configuration", "index"} <= {
        check.name for check in checks
    }
    assert not found(store)["index"].ok
    assert "indexer scan" in found(store)["index"].remedy


@needs("CAP_SYS_ADMIN")
def test_the_backend_is_named_for_each_filesystem(store: Store) -> None:
    """As root on an ordinary filesystem: fanotify, and nothing to mend."""
    check = found(store)["backend (root)"]
    assert check.ok
    assert check.detail.startswith("fanotify: ")


def test_an_old_sqlite_is_named_with_its_bug(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log's reset bug is fixed in 3.51.3."""
    monkeypatch.setattr(machine, "sqlite3", SimpleNamespace(sqlite_version="3.40.1", __name__="sqlite3"))
    check = found(store)["sqlite"]
    assert (check.ok, check.detail) == (False, "3.40.1 by sqlite3")
    assert "WAL-reset" in check.remedy


def test_an_old_kernel_and_missing_capabilities_say_what_they_cost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each capability would buy stands in the remedy."""
    monkeypatch.setattr("platform.release", lambda: "4.19.0-27-amd64")
    monkeypatch.setattr(machine, "_capabilities", lambda: 0)
    checks = found(store)
    assert (checks["kernel"].ok, checks["kernel"].detail) == (False, "Linux 4.19.0-27-amd64")
    assert checks["capabilities"].ok  # advice: there is inotify
    assert "CAP_LEASE would buy" in checks["capabilities"].remedy


def test_a_control_directory_open_to_others_is_found(store: Store) -> None:
    """The databases are private to the service."""
    store.control.chmod(0o755)
    assert found(store)["trust"].remedy == f"chmod 0700 {store.control}"


def test_little_room_for_the_databases_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's ballast alone takes 16 MB."""
    usage: Any = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr("psutil.disk_usage", lambda _path: usage)
    check = found(store)["room"]
    assert (check.ok, check.detail) == (False, "976.6 KiB free for the databases")


@needs("CAP_SYS_ADMIN")
def test_a_class_by_last_use_on_noatime_is_found(mount: Callable[..., Path]) -> None:
    """There the kernel notes no use, so only what the service observes counts."""
    root = mount("tmpfs", options="noatime")
    (root / "indexer.toml").write_text('[[class]]\nname = "c"\nmatch = ["c/**"]\nttl = "7d"\nclock = ["atime"]\n')
    store = initialise_store(root)
    check = found(store)["mount (root)"]
    assert not check.ok
    assert "noatime, and c age by atime" in check.detail


@needs("CAP_SYS_ADMIN")
def test_a_mount_is_found_by_its_longest_point(mount: Callable[..., Path]) -> None:
    """Not by a prefix of its name."""
    root = mount("tmpfs")
    (root / "below").mkdir()
    assert mount_of(root / "below").point == os.path.realpath(root)
    assert mount_of(root / "below").kind == "tmpfs"
    assert mount_of(root.parent).point != os.path.realpath(root)


def test_what_the_ledger_does_not_know_is_found_in_the_trash(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing destroys it, so it would take room for ever; what has just come may be a run's that is at work."""
    assert found(store)["trash"].ok
    trash = store.trash_path()
    trash.mkdir(mode=0o700, parents=True, exist_ok=True)
    (trash / "1-1").write_bytes(b"whose?")
    assert found(store)["trash"].ok
    monkeypatch.setattr(stray, "SETTLED", -1)
    check = found(store)["trash"]
    assert (check.ok, check.detail) == (
        False,
        f"1 object of which the ledger knows nothing, such as {trash / '1-1'}",
    )
    assert "look at them" in check.remedy
