"""The audit finds what no event told, counts it by kind, and mends it; what is only late is no drift."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index.apply import Index
from indexer.index.audit import Audit
from indexer.index.classes import Policy
from indexer.index.directories import Filesystem
from indexer.index.drift import Drift
from indexer.syscalls.stat import stat_fd

NOW = 1_700_000_000


def quiet(index: Index) -> None:
    """Apply empty batches until nothing waits."""
    while index.busy or index.unsettled:
        index.apply(Batch(NOW))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small tree."""
    root = tmp_path / "tree"
    for name in ("a/1", "a/2", "b/3", "4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def index(tmp_path: Path, root: Path) -> Iterator[Index]:
    """Its index, without any watcher: whatever happens now is missed."""
    fd = os.open(root, os.O_RDONLY)
    filesystem = Filesystem(1, fd, stat_fd(fd).dev, os.statvfs(fd).f_fsid)
    index = Index(tmp_path / "index.db", [filesystem], policy=Policy(), now=NOW)
    index.request_rescan(Rescan(ROOT_ID, reason="first"))
    quiet(index)
    yield index
    index.close()
    os.close(fd)


def look_everywhere(audit: Audit, steps: int = 60) -> int:
    """Take enough looks to have been in each of three directories; return the hits."""
    return sum(audit.step() for _ in range(steps))


def test_a_true_index_has_no_drift(index: Index) -> None:
    """Files are compared, and nothing is found."""
    audit = Audit(index, Random(1))
    assert look_everywhere(audit) == 0
    assert audit.drift.checked > 20
    assert audit.drift == Drift(checked=audit.drift.checked)


@pytest.mark.parametrize("kind", ["missed", "ghost", "wrong"])
def test_each_kind_of_drift_is_found_counted_and_mended(index: Index, root: Path, kind: str) -> None:
    """A change that no event told is a figure under its own name, and its directory is listed again."""
    if kind == "missed":
        (root / "b/new").write_text("unseen")
    elif kind == "ghost":
        (root / "b/3").unlink()
    else:
        (root / "b/3").write_text("longer than before")
    audit = Audit(index, Random(2))
    assert look_everywhere(audit) >= 1
    assert getattr(audit.drift, kind) >= 1
    assert audit.drift.found == getattr(audit.drift, kind)
    quiet(index)
    again = Audit(index, Random(3))
    assert look_everywhere(again) == 0


def test_a_difference_whose_event_comes_in_time_is_no_drift(index: Index, root: Path) -> None:
    """Between the two looks the hint is applied: the suspicion is dropped."""
    (root / "b/new").write_text("its event is on the way")
    audit = Audit(index, Random(4))
    directory = index.directories.at_path(b"b")
    assert directory is not None
    while not audit.suspects:
        assert audit.step() == 0
    index.apply(Batch(NOW, hints={directory: {b"new": 1}}))
    assert look_everywhere(audit) == 0
    assert audit.drift.found == 0
