"""What every history is played with."""

from __future__ import annotations

import pytest

from indexer.index import derived


@pytest.fixture(autouse=True)
def all_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every sum that a store with very many directories keeps; what a small one keeps is part of it."""
    monkeypatch.setattr(derived, "MANY", -1)
