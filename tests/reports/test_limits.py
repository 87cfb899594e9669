"""What doctor says of inotify's limits: which sysctl, which number."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from indexer.reports import limits
from indexer.reports.limits import limit_checks
from indexer.service.once import scan_once
from indexer.store import Store, initialise_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store of 20 directories and its root, where fanotify is not to be had."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("indexer.syscalls.fanotify.fanotify_init", refuse)
    for number in range(20):
        (tmp_path / f"{number}").mkdir()
    store = initialise_store(tmp_path, index_only=True)
    scan_once(store, quick=False, clock=lambda: 1_700_000_000.0, progress=lambda *_: None)
    return store


def test_enough_watches_are_no_finding(store: Store) -> None:
    """The figures are told all the same."""
    (check,) = limit_checks(store)
    assert (check.name, check.ok, check.remedy) == ("inotify watches", True, "")
    assert check.detail.startswith("21 directories, ")


def test_too_few_watches_say_how_many_would_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the directories, rounded up: there is room to grow and for others."""
    monkeypatch.setattr(limits, "limit_of", {"watches": ("fs.inotify.max_user_watches", 22)}.get)
    (check,) = limit_checks(store)
    assert not check.ok
    assert check.remedy.startswith("sysctl fs.inotify.max_user_watches=64; ")


def test_used_up_instances_are_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no inotify at all, and the backend's reason says so."""

    def refuse() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("indexer.syscalls.inotify.inotify_init", refuse)
    monkeypatch.setattr(limits, "limit_of", {"instances": ("fs.inotify.max_user_instances", 128)}.get)
    (check,) = limit_checks(store)
    assert (check.name, check.ok) == ("inotify instances", False)
    assert check.remedy.startswith("sysctl fs.inotify.max_user_instances=512; ")
