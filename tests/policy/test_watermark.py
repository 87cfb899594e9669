"""Watermarks: between the marks nothing begins; classes give way in order, and only as far as needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.policy.classes import Classifier
from indexer.policy.quota import Used, order_key
from indexer.policy.watermark import Room, Shortage, disappoints, filesystem_of, give_way, shortage
from indexer.rules import MinFree, Rule, Shares, Watermark
from tests.policy.declared import indexed

NOW = 1_800_000_000
DAY = 86_400
SPACE = Watermark((), space=Shares(0.9, 0.8))
ROOM = Room(used=900, available=100, inodes=100, inodes_free=50)


@pytest.mark.parametrize(
    ("mark", "room", "expected"),
    [
        (SPACE, ROOM, Shortage(100, 0, "space")),
        (SPACE, Room(899, 101, 0, 0), None),
        (SPACE, Room(850, 150, 0, 0), None),
        (Watermark((), space=Shares(0.9)), Room(950, 50, 0, 0), Shortage(50, 0, "space")),
        (Watermark((), min_free=MinFree(100, 300)), ROOM, Shortage(200, 0, "min_free")),
        (Watermark((), min_free=MinFree(99, 300)), ROOM, None),
        (Watermark((), inodes=Shares(0.5, 0.2)), ROOM, Shortage(0, 30, "inodes")),
        (Watermark((), inodes=Shares(0.5, 0.2)), Room(900, 100, 0, 0), None),
        (Watermark((), Shares(0.9, 0.8), MinFree(200, 150 + 200), Shares(0.4, 0.3)), ROOM, Shortage(250, 20, "space")),
    ],
)
def test_when_it_starts_and_how_far_it_goes(mark: Watermark, room: Room, expected: Shortage | None) -> None:
    """From a high mark to its low one; the larger need of several; no inodes, no inode mark (btrfs)."""
    assert shortage(mark, room) == expected


@pytest.mark.parametrize(
    ("capacity", "taken", "expected"),
    [
        (None, 10**6, Shortage(100, 0, "space")),
        (10_000, 8_999, Shortage(100, 0, "space")),  # the filesystem is the smaller one
        (10_000, 9_000, Shortage(1_000, 0, "space")),
        (10_000, 12_000, Shortage(4_000, 0, "space")),  # over it already, as when a capacity is declared late
    ],
)
def test_the_smaller_capacity_counts(capacity: int | None, taken: int, expected: Shortage) -> None:
    """A store that was given less than its filesystem gives way when that is used up."""
    mark = Watermark((), space=Shares(0.9, 0.8), capacity=capacity)
    assert shortage(mark, ROOM, taken) == expected
    roomy = shortage(mark, Room(100, 900, 0, 0), taken)
    assert roomy == (None if capacity is None or taken < 9_000 else expected)


@given(used=st.integers(0, 10**12), available=st.integers(1, 10**12), low=st.floats(0.01, 0.9))
def test_what_is_needed_is_enough(used: int, available: int, low: float) -> None:
    """Once so many bytes have come free, no mark is reached any more."""
    mark = Watermark((), space=Shares(0.95, low), min_free=MinFree(10**6, 10**9))
    found = shortage(mark, Room(used, available, 0, 0))
    if found is not None and found.bytes <= used:
        assert shortage(mark, Room(used - found.bytes, available + found.bytes, 0, 0)) is None


RULES = (
    Rule("temp", ("temp/**",), ttl=DAY, exclude=("**/.keep",)),
    Rule("uploads", ("uploads/**",), ttl=30 * DAY),
    Rule("outputs", ("outputs/**",)),
)
CLASSIFIER = Classifier(RULES)


@given(
    declared=st.lists(
        st.tuples(st.sampled_from(["temp", "uploads", "outputs"]), st.sampled_from([".keep", "held", "a", "b", "c"]),
                  st.integers(0, 40 * DAY), st.integers(1, 9)),
        unique_by=lambda one: one[:2],
    ),
    need=st.integers(0, 60),
)  # fmt: skip
def test_classes_give_way_in_order_and_nothing_protected_goes(
    declared: list[tuple[str, str, int, int]], need: int
) -> None:
    """Deleted whatever the action; holds, excludes and min_age hold; at most one file more than needed."""
    files = [indexed(f"{top}/{name}", CLASSIFIER, mtime=NOW - age, size=n * 4096) for top, name, age, n in declared]
    going = list(
        give_way(
            RULES[:2],
            Used(0, need * 4096),
            lambda rule: sorted((f for f in files if f.class_name == rule.name), key=order_key(rule)),
            now=NOW,
            blockers=lambda file: "held" if file.name == b"held" else None,
        )
    )
    assert {(one.action, one.reason) for one in going} <= {("delete", "watermark")}
    assert not [one for one in going if one.file.name == b"held" or one.file.path == b"temp/.keep"]
    assert not [one for one in going if NOW - one.file.mtime < one.rule.min_age]
    assert [one.rule.name for one in going] == sorted(one.rule.name for one in going)
    assert "outputs" not in {one.rule.name for one in going}
    freed = sum(one.file.allocated for one in going)
    if freed >= need * 4096 and going:
        assert freed - going[-1].file.allocated < need * 4096


def test_the_real_gain_decides_whether_to_go_on() -> None:
    """Half of what was claimed is the line; inodes count where no bytes were claimed."""
    assert not disappoints(Used(1, 100), Used(0, 50))
    assert disappoints(Used(1, 100), Used(9, 49))
    assert disappoints(Used(4, 0), Used(1, 0))
    assert not disappoints(Used(4, 0), Used(2, 0))


def test_which_filesystem_a_path_lies_on() -> None:
    """The deepest of the named ones, else the root's own."""
    names = ("uploads", "uploads/ssd")
    paths = (b"uploads", b"uploads/a", b"uploads/ssd/x", b"uploadsx", b"", b"other")
    assert [filesystem_of(path, names) for path in paths] == ["uploads", "uploads", "uploads/ssd", "", "", ""]
