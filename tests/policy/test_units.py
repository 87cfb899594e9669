"""Children in plans: whole or not at all, as old as their youngest file, and kept by what keeps one of their files."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from indexer.policy.classes import Classifier
from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.plan import Plan, plan, recheck
from indexer.policy.quota import Holding, Used
from indexer.policy.units import cut, regrouped, rows, too_large, unit_clock, unit_key
from indexer.records import IndexedFile, Unit
from indexer.rules import Clock, Guards, Quota, Rule
from tests.policy.declared import candidates, indexed, units

NOW = 1_800_000_000
DAY = 86_400
BLOCK = 4096
OPEN = Guards(max_fraction=1.0, max_files=10**9, max_bytes=10**18)
AGE = st.integers(-3600, 9 * DAY)
DECLARED = st.lists(
    st.tuples(
        st.sampled_from(["c/", "c/a/", "c/a/deep/", "c/b/", "c/d/", "other/"]),
        st.sampled_from([".keep", "held"]) | st.integers(0, 20).map(str),
        st.tuples(AGE, AGE, AGE),
        st.integers(0, 4),
    ),
    max_size=25,
    unique_by=lambda one: one[:2],
)
CLOCKS = st.sampled_from([("mtime",), ("atime", "mtime"), ("ctime",), ("btime",)])


def rule_of(clocks: tuple[Clock, ...] = ("mtime",), **wishes: Any) -> Rule:
    """Return a class of children."""
    return Rule(
        "c", ("c/**",), **{"exclude": ("**/.keep",), "ttl": 5 * DAY, "clocks": clocks, "unit": "child", **wishes}
    )


def files_of(declared: list[Any], rule: Rule) -> list[IndexedFile]:
    """Return the rows of declared files."""
    classifier = Classifier((rule,))
    return [
        indexed(folder + name, classifier, mtime=NOW - ages[0], atime=NOW - ages[1], first_seen=NOW - ages[2],
                size=blocks * BLOCK)
        for folder, name, ages, blocks in declared
    ]  # fmt: skip


def planned(rule: Rule, files: list[IndexedFile], guards: Guards = OPEN, *, limit: int | None = None) -> Plan:
    """Plan them; what is called `held` is held."""
    mine = [file for file in files if file.class_name == rule.name]
    used = Used(len(mine), sum(file.allocated for file in mine))
    return plan(
        candidates(files, (rule,)),
        guards=guards,
        live_files=max(len(files), 1),
        now=NOW,
        blockers=lambda file: "held" if file.name == b"held" else None,
        rules=(rule,),
        limit=limit,
        holdings=[Holding(rule, used)] if rule.quota is not None else [],
        files_of=lambda _holding: sorted(units(files, rule), key=unit_key(rule)),
    )


def free(rule: Rule, unit: Unit) -> bool:
    """Say by a plain look whether nothing keeps a unit."""
    return all(
        file.name not in {b".keep", b"held"}
        and NOW - (max(file.mtime, file.first_seen) if rule.arrival_floor else file.mtime) >= rule.min_age
        for file in unit.files
    )


@given(declared=DECLARED, clocks=CLOCKS, floor=st.booleans())
def test_what_goes_is_exactly_the_children_that_are_old_and_free(
    declared: list[Any], clocks: tuple[Clock, ...], floor: bool
) -> None:
    """Never a part of one, never one with a held, excluded or young file; and all the others."""
    rule = rule_of(clocks, arrival_floor=floor)
    files = files_of(declared, rule)
    clock = compile_clock(rule)
    expected = set()
    for unit in units(files, rule):
        aged = [file_clock(clock, file) for file in unit.files if file.clock is not None]
        if max(aged) + 5 * DAY < NOW and free(rule, unit):
            expected |= {file.path for file in unit.files}
    made = planned(rule, files)
    assert {action.file.path for action in made.actions} == expected
    assert sum(row.get("files", 1) for row in rows(made.actions)) == len(made.actions)
    paths = [row["path"] for row in rows(made.actions)]
    assert len(paths) == len(set(paths))
    dates = [row["clock_at"] for row in rows(made.actions)]
    assert dates == sorted(dates)
    classifier = Classifier((rule,))
    assert all(recheck(rule, classifier, one.file.path, one.file, NOW, one) is None for one in made.actions)


@given(
    declared=DECLARED,
    high=st.integers(0, 60),
    low=st.integers(0, 60),
    order=st.sampled_from(["clock", "size", "first_seen"]),
    ttl=st.sampled_from([None, 5 * DAY]),
)
def test_a_quota_takes_enough_and_at_most_one_unit_more(
    declared: list[Any], high: int, low: int, order: Any, ttl: int | None
) -> None:
    """After the plan the class is at its low mark, or all that could go has; one unit less would not do."""
    quota = Quota(high * BLOCK, min(low, high) * BLOCK, order=order)
    rule = rule_of(ttl=ttl, quota=quota, evict=True)
    files = files_of(declared, rule)
    made = planned(rule, files)
    holds = sum(file.allocated for file in files if file.class_name == "c")
    expired = sum(one.file.allocated for one in made.actions if one.reason == "expired")
    forced = [one for one in regrouped(made.actions) if _first(one).reason == "quota"]
    sizes = [_size(one) for one in forced]
    after = holds - expired
    if after < high * BLOCK or after <= quota.low:  # type: ignore[operator]
        assert forced == []
        return
    left = after - sum(sizes)
    going = {action.file.path for action in made.actions}
    could = [
        unit
        for unit in units(files, rule)
        if unit.files[0].path not in going and free(rule, unit) and any(file.allocated for file in unit.files)
    ]
    if left > (quota.low or 0):
        assert could == []
    elif forced:
        assert left + sizes[-1] > (quota.low or 0)
        key = unit_key(rule)
        last = next(unit for unit in units(files, rule) if unit.files[0].path == _first(forced[-1]).file.path)
        assert all(key(unit) > key(last) for unit in could)


def _first(going: Any) -> Any:
    return going.removes[0] if hasattr(going, "removes") else going


def _size(going: Any) -> int:
    return sum(one.file.allocated for one in getattr(going, "removes", (going,)))


@given(declared=DECLARED, most=st.integers(1, 8), size=st.integers(1, 20), limit=st.none() | st.integers(1, 3))
def test_a_run_is_cut_between_units(declared: list[Any], most: int, size: int, limit: int | None) -> None:
    """The oldest part, never a part of a child; `limit` counts units, `max_files` files; the rest is postponed."""
    rule = rule_of()
    files = files_of(declared, rule)
    everything = regrouped(planned(rule, files).actions)
    guards = Guards(max_fraction=1.0, max_files=most, max_bytes=size * BLOCK)
    made = planned(rule, files, guards, limit=limit)
    taken = regrouped(made.actions)
    assert taken == everything[: len(taken)]
    assert len(made.actions) <= most
    assert sum(map(_size, taken)) <= size * BLOCK
    assert limit is None or len(taken) <= limit
    assert made.truncated == (len(taken) < len(everything))
    assert made.kept.get("postponed", 0) == sum(len(getattr(one, "removes", (one,))) for one in everything) - len(
        made.actions
    )
    assert list(cut(everything, guards, limit=limit)) == list(made.actions)


def test_a_child_that_no_run_may_take_says_so() -> None:
    """Its files or its blocks alone are beyond the guards; a single file is no child."""
    rule = rule_of()
    files = files_of([("c/a/", str(number), (6 * DAY,) * 3, 1) for number in range(3)], rule)
    (unit,) = units(files, rule)
    assert too_large(unit, Guards(max_files=2)) == "too_large"
    assert too_large(unit, Guards(max_bytes=2 * BLOCK)) == "too_large"
    assert too_large(unit, Guards(max_files=3, max_bytes=3 * BLOCK)) is None
    assert too_large(Unit(b"c/x", (files[0],), child=False), Guards(max_bytes=1)) is None
    assert unit_clock(rule, unit) == NOW - 6 * DAY


def test_the_guards_count_files() -> None:
    """A child of eight of ten files is four fifths of the store."""
    rule = rule_of()
    files = files_of([("c/a/", str(number), (6 * DAY,) * 3, 1) for number in range(8)], rule)
    files += files_of([("c/b/", str(number), (DAY,) * 3, 1) for number in range(2)], rule)
    made = planned(rule, files, Guards(max_fraction=0.5, min_files=0), limit=1)
    assert made.refused is not None
    assert "8 of 10 files" in made.refused.message
