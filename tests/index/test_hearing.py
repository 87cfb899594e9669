"""Which st_atime counts where some readers are ignored: at first sight, in gaps, and when somebody set it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index.files import _believed
from indexer.index.hearing import Hearing
from indexer.index.rows import ATIME, BIRTH_AFTER, CTIME_AFTER, INODE, MTIME, SIZE, USED_AT
from tests.index.rig import NOW, Recorder, Rig


class Facts:
    """`Meta` without a database."""

    def __init__(self, **facts: str) -> None:
        self.facts = facts

    def get(self, key: str) -> str | None:
        """Return it."""
        return self.facts.get(key)

    def set(self, key: str, value: str) -> None:
        """Keep it."""
        self.facts[key] = value

    def discard(self, key: str) -> None:
        """Forget it."""
        self.facts.pop(key, None)


def hearing(facts: Facts, now: int, *, listening: bool = True) -> Hearing:
    """Return it over these facts."""
    return Hearing(facts, now, listening=listening)  # type: ignore[arg-type]


def test_a_use_counts_when_nobody_listened() -> None:
    """Before the first time, between two lives, and while events were lost; each end is the moment it was noted."""
    facts = Facts()
    first = hearing(facts, 100)
    assert [first.counts(at) for at in (1, 100, 101)] == [True, True, False]
    assert facts.facts == {"hearing_since": "100"}
    first.heard(150, note=False)
    first.lost(170)
    assert [first.counts(at) for at in (149, 150, 170, 171)] == [False, True, True, False]
    first.close(200)
    assert facts.facts == {"heard_until": "200"}
    second = hearing(facts, 300)
    assert [second.counts(at) for at in (150, 200, 201, 300, 301)] == [False, False, True, True, False]


def test_a_crash_ends_at_what_was_noted_last() -> None:
    """With the last batch that was written: what lies behind it is a gap."""
    facts = Facts()
    crashed = hearing(facts, 100)
    crashed.heard(110, note=True)
    crashed.heard(120, note=False)
    again = hearing(facts, 200)
    assert [again.counts(at) for at in (110, 111, 200, 201)] == [False, True, True, False]


def test_a_scan_without_a_service_believes_all_since() -> None:
    """Nobody tells uses, so all later times count, and the next service goes on from there."""
    facts = Facts(heard_until="100", hearing_since="50")
    scan = hearing(facts, 300, listening=False)
    assert [scan.counts(at) for at in (100, 101, 500)] == [False, True, True]
    scan.lost(400)
    scan.close(500)
    assert facts.facts == {"heard_until": "100"}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({ATIME: 500}, False),
        ({ATIME: 50}, True),  # in the gap before
        ({ATIME: 1}, True),  # it went back
        ({ATIME: 500, CTIME_AFTER: 400}, True),  # somebody set it
        ({ATIME: 500, MTIME: 450, CTIME_AFTER: -30}, False),  # it was written, and read by somebody
        ({ATIME: 500, INODE: 8}, True),  # another file
    ],
)
def test_which_stat_is_believed(change: dict[int, int], counts: bool) -> None:
    """The row keeps its time where an ignored program may have moved it."""
    old: list[Any] = [0] * 16
    old[ATIME], old[MTIME], old[INODE] = 20, 20, 7
    new = list(old)
    for column, value in change.items():
        new[column] = value
    old[CTIME_AFTER] = 5
    if CTIME_AFTER not in change:
        new[CTIME_AFTER] = 5
    old[BIRTH_AFTER] = new[BIRTH_AFTER] = None  # a filesystem that keeps none
    gaps = hearing(Facts(heard_until="30"), 100)
    believed = _believed(tuple(new[SIZE:USED_AT]), tuple(old), gaps)
    assert believed == (change[ATIME] if counts else 20)


class Listener(Recorder):
    """Tells uses, and knows whose."""

    tells_readers = True


@pytest.mark.parametrize("reason", ["overflow", "folded"])
def test_lost_events_are_a_gap(tmp_path: Path, reason: str) -> None:
    """Uses were among them, so st_atime counts from the last time that all had been told."""
    with Rig(tmp_path, {"a": b"1"}, ignores_readers=True) as rig:
        rig.reopen(watcher=Listener())
        heard = rig.index.hearing
        assert heard is not None
        rig.index.apply(Batch(NOW + 100, drained=True))
        assert not heard.counts(NOW + 150)
        rig.index.apply(Batch(NOW + 200, rescans=[Rescan(ROOT_ID, reason=reason)], drained=False))
        assert [heard.counts(NOW + at) for at in (50, 150, 250)] == [False, True, False]
