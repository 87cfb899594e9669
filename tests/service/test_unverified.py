"""After a gap nothing is removed from a part of the tree that has yet to be verified."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index.apply import Index
from indexer.index.opening import close_filesystems, open_filesystems, open_index
from indexer.index.queries import Reader
from indexer.service.planning import decide_all
from indexer.service.policy import index_policy
from indexer.store import Store, initialise_store

POLICY = """
[guards]
max_fraction = 1.0
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1h"
arrival_floor = false
"""
NOW = 1_800_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three expired files in as many directories."""
    root = tmp_path / "store"
    for name in ("temp/a/1", "temp/b/2", "temp/3"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        os.utime(root / name, (NOW - 10_000, NOW - 10_000))
    (root / "indexer.toml").write_text(POLICY)
    return initialise_store(root)


@pytest.fixture
def index(store: Store) -> Iterator[Index]:
    """Their index, complete."""
    filesystems = open_filesystems(store)
    index = open_index(store, filesystems, index_policy(store.config), None, NOW)
    index.request_rescan(Rescan(ROOT_ID, reason="first"))
    while index.busy or index.unsettled:
        index.apply(Batch(NOW))
    yield index
    index.close()
    close_filesystems(filesystems)


def planned(store: Store) -> tuple[set[bytes], dict[str, int]]:
    """Return what a run would take, and what it would keep and why."""
    with Reader.open(store.index_path) as reader:
        plan = decide_all(store.config, reader, None, NOW + 5)
    return {action.file.path for action in plan.actions}, dict(plan.kept)


def test_what_has_yet_to_be_verified_is_kept_and_counted(store: Store, index: Index) -> None:
    """A doubt about everything protects everything, and each directory that is listed comes free by itself."""
    everything = {b"temp/a/1", b"temp/b/2", b"temp/3"}
    assert planned(store) == (everything, {})
    index.apply(Batch(NOW + 1, rescans=[Rescan(ROOT_ID, reason="overflow")]), budget=0)
    assert planned(store) == (set(), {"unverified": 3})
    taken: set[bytes] = set()
    while index.busy:
        index.apply(Batch(NOW + 2), budget=1)
        paths, kept = planned(store)
        assert taken <= paths
        assert len(paths) + kept.get("unverified", 0) == 3
        taken = paths
    assert planned(store) == (everything, {})


def test_a_scan_on_request_doubts_nothing(store: Store, index: Index) -> None:
    """Nothing was lost: somebody only wants to be sure."""
    index.apply(Batch(NOW + 1, rescans=[Rescan(ROOT_ID, reason="requested")]), budget=0)
    assert len(planned(store)[0]) == 3
