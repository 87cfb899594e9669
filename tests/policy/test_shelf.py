"""Many planned removals in little memory: what comes out is what went in, in the same order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.policy import shelf
from indexer.policy.classes import Classifier
from indexer.policy.decide import Child, Remove
from indexer.policy.plan import plan
from indexer.policy.reasons import Reason
from indexer.policy.shelf import Oldest, Shelf, regrouped_in_order, sequence_of
from indexer.policy.units import Going, Whole, files_in, going_key
from indexer.records import IndexedFile, Unit
from indexer.rules import Guards, Quota, Rule
from tests.policy.declared import indexed

RULE = Rule("temp", ("temp/**",), ttl=60, arrival_floor=False, min_age=0)
CLASSIFIER = Classifier((RULE,))


def remove(number: int, at: int, child: Child | None = None) -> Remove:
    """Return one planned removal."""
    file = indexed(f"temp/{number % 7}/{number}", CLASSIFIER, mtime=at, size=number, btime=at if number % 2 else None)
    file = file._replace(identity=file.identity._replace(inode=2**64 - 1 - number))
    return Remove(file, RULE, Reason.EXPIRED, at, at + 60, "trash", child)


def whole(number: int, at: int) -> Whole:
    """Return a child of three files."""
    child = Child(b"temp/child-%d" % number, 3, 10, 20)
    return Whole(tuple(remove(number * 10 + file, at, child) for file in range(3)))


@pytest.mark.parametrize("count", [0, 1, shelf.BLOCK - 1, shelf.BLOCK, 3 * shelf.BLOCK + 5])
def test_what_comes_out_is_what_went_in(count: int) -> None:
    """Every field, by number, by slice, forwards, and drained; children are one object again."""
    put = [remove(number, 1000 - number) for number in range(count)]
    kept = Shelf(put)
    assert len(kept) == count
    assert list(kept) == put
    assert kept[: count // 2] == tuple(put[: count // 2])
    assert kept[::-1] == tuple(put[::-1])
    for place in {0, count // 2, -1} if count else ():
        assert kept[place] == put[place]
    with pytest.raises(IndexError):
        kept[count]
    assert list(kept.drain()) == put
    assert len(kept) == 0


def test_children_stay_together() -> None:
    """Across the borders of blocks, too."""
    put: list[Going] = [whole(number, number) if number % 3 else remove(number, number) for number in range(400)]
    kept = Shelf(one for going in put for one in files_in(going))
    assert list(regrouped_in_order(kept)) == put


@given(
    st.lists(st.integers(0, 50), max_size=60), st.integers(1, 70), st.integers(1, 12), st.randoms(use_true_random=False)
)
def test_the_oldest_are_the_oldest(times: list[int], most: int, small: int, shuffled: random.Random) -> None:
    """Whatever the order they come in and however they are cut into parts: as a sort of all of them says."""
    going: list[Going] = [whole(n, at) if n % 5 == 0 else remove(n, at) for n, at in enumerate(times)]
    expected = sorted(going, key=going_key)[:most]
    shuffled.shuffle(going)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "SMALL", small)
        oldest = Oldest(most)
        for one in going:
            oldest.add(one)
        assert len(oldest) == len(expected)
        found = list(oldest.drain())
    assert [going_key(one) for one in found] == [going_key(one) for one in expected]
    assert [files_in(one) for one in found] == [files_in(one) for one in expected]


@pytest.mark.parametrize("limit", [None, 10, 90])
@pytest.mark.parametrize("guards", [Guards(max_fraction=1), Guards(max_fraction=1, max_files=77)])
def test_a_packed_plan_is_the_plan(monkeypatch: pytest.MonkeyPatch, guards: Guards, limit: int | None) -> None:
    """Small and packed, with children, quotas, limits and cuts: the same actions, totals and words."""
    rule = replace(RULE, quota=Quota(files=20))
    files = [indexed(f"temp/{n}", CLASSIFIER, mtime=1000 - n * 7 % 100, size=n) for n in range(150)]
    units = [
        Unit(b"temp/c%d" % n, tuple(indexed(f"temp/c{n}/{f}", CLASSIFIER, mtime=n, size=9) for f in range(4)))
        for n in range(20)
    ]
    candidates: list[tuple[Rule, IndexedFile | Unit]] = [
        *((rule, unit) for unit in units),
        *((rule, file) for file in files),
    ]

    def made() -> object:
        found = plan(candidates, guards=guards, live_files=500, now=1010, limit=limit)
        return list(found.actions), found.totals(), found.kept, found.due, found.truncated, found.refused

    plain = made()
    monkeypatch.setattr(shelf, "SMALL", 8)
    assert made() == plain
    assert isinstance(sequence_of(remove(n, n) for n in range(9)), Shelf)


@given(st.lists(st.lists(st.integers(0, 30), max_size=40), max_size=6), st.integers(1, 9))
def test_parts_come_together_as_a_sort_of_all(parts: list[list[int]], block: int) -> None:
    """Whatever overlaps and wherever pieces end."""
    number = 0
    going: list[list[Going]] = []
    for times in parts:
        part: list[Going] = []
        for at in times:
            number += 1
            part.append(whole(number, at) if number % 5 == 0 else remove(number, at))
        going.append(sorted(part, key=going_key))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "BLOCK", block)
        found = list(shelf.merged([iter(part) for part in going]))
    assert found == sorted((one for part in going for one in part), key=going_key)


@given(st.lists(st.tuples(st.sampled_from([0, 2**63 - 1, -5]), st.sampled_from([b"", b"a", None, "a"])), max_size=20))
def test_rows_of_columns_that_say_the_same(rows: list[tuple[int, object]]) -> None:
    """A column of one value is kept once, and comes back as often as it was there."""
    assert shelf.unpack(shelf.pack(list(rows))) == rows
