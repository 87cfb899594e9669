"""Which uses are told, by a clock of the test's own."""

from __future__ import annotations

import pytest

from indexer.watch import uses
from indexer.watch.uses import RecentUses


def test_without_a_resolution_every_use_is_told() -> None:
    """There is nothing to remember."""
    assert RecentUses(0).turn() is None


def test_it_starts_afresh_every_half_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is noted is at most so old; and with too many names at once."""
    now = [100.0]
    recent = RecentUses(60, lambda: now[0])
    told = recent.turn()
    assert told == set()
    assert told is not None
    told.add(b"a")
    now[0] = 129.9
    assert recent.turn() == {b"a"}
    now[0] = 130.0
    assert recent.turn() == set()
    monkeypatch.setattr(uses, "LIMIT", 2)
    told.update((b"a", b"b"))
    assert recent.turn() == set()
