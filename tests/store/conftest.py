"""A directory that is a store, and an environment and an /etc/indexer of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.store import Store, initialise_store, places


@pytest.fixture(autouse=True)
def system(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory that stands for /etc/indexer; no variable of the user's own counts."""
    directory = tmp_path_factory.mktemp("etc")
    monkeypatch.setattr(places, "SYSTEM", directory)
    for variable in ("INDEXER_STORE", "INDEXER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store in the test's own directory, with profile media."""
    root = tmp_path / "store"
    root.mkdir()
    return initialise_store(root, "media")
