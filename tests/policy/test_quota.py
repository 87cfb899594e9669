"""Quotas: enough goes, at most one file more than needed, in the class's order, and nothing that is protected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.policy.classes import Classifier
from indexer.policy.plan import Plan, plan, recheck
from indexer.policy.quota import Holding, Used, first_of, in_true_order, order_key
from indexer.records import Identity, IndexedFile
from indexer.rules import Guards, Quota, Rule
from tests.policy.declared import candidates, indexed

NOW = 1_800_000_000
DAY = 86_400
BLOCK = 4096
OPEN = Guards(max_fraction=1.0, max_files=10**9, max_bytes=10**18)


def rule_of(**given: Any) -> Rule:
    """A class `c` with a quota."""
    quota = Quota(**{"high": 10 * BLOCK, **given.pop("quota", {})})
    return Rule("c", ("c/**",), **{"ttl": 7 * DAY, "quota": quota, **given})


def holdings_of(rule: Rule, files: list[IndexedFile]) -> list[Holding]:
    """Sum up by a plain walk what the counters would say."""
    assert rule.quota is not None
    sums: dict[bytes | None, Used] = {}
    seen: set[Identity] = set()
    for file in files:
        place = rule.child_of(file.directory) if rule.quota.per == "child" else None
        if rule.quota.per == "child" and place is None:
            continue
        charged = file.allocated if file.links == 1 or file.identity not in seen else 0
        seen.add(file.identity)
        sums[place] = sums.get(place, Used()) + Used(1, charged)
    return [Holding(rule, used, child) for child, used in sums.items()]


def planned(rule: Rule, files: list[IndexedFile], held: bytes = b"\0", guards: Guards = OPEN) -> Plan:
    """Plan with the holdings and orders that an index would give."""

    def files_of(holding: Holding) -> list[IndexedFile]:
        if holding.child is None:
            return sorted((file for file in files if file.clock is not None), key=order_key(rule))
        return [file for file in files if rule.child_of(file.directory) == holding.child and file.clock is not None]

    return plan(
        candidates(files, (rule,)),
        guards=guards,
        live_files=max(len(files), 1),
        now=NOW,
        blockers=lambda file: "held" if file.path.startswith(held) else None,
        rules=(rule,),
        holdings=holdings_of(rule, files),
        files_of=files_of,
    )


AGE = st.integers(-3600, 9 * DAY)
ANY = st.lists(
    st.tuples(
        st.sampled_from(["c/", "c/alice/", "c/alice/deep/", "c/bob/"]),
        st.sampled_from([".keep", "held"]) | st.integers(0, 99).map(str),
        AGE,
        AGE,
        st.integers(0, 4),
    ),
    max_size=30,
    unique_by=lambda one: one[:2],
)
QUOTAS = st.builds(
    lambda high, low, files, order, per: Quota(high, None if low is None else min(low, high), files, per, order),
    st.integers(0, 40).map(lambda n: n * BLOCK),
    st.none() | st.integers(0, 40).map(lambda n: n * BLOCK),
    st.none() | st.integers(1, 20),
    st.sampled_from(["clock", "size", "first_seen"]),
    st.sampled_from(["class", "child"]),
)


@given(declared=ANY, quota=QUOTAS, ttl=st.sampled_from([None, 7 * DAY]), evict=st.booleans())
def test_enough_goes_and_at_most_one_file_more(
    declared: list[tuple[str, str, int, int, int]], quota: Quota, ttl: int | None, evict: bool
) -> None:
    """After the plan each place is at most at its low mark, or all that could go has; one file less would not do."""
    rule = Rule("c", ("c/**",), exclude=("**/.keep",), ttl=ttl, quota=quota, evict=evict)
    classifier = Classifier((rule,))
    files = [
        indexed(folder + name, classifier, mtime=NOW - age, first_seen=NOW - seen, size=blocks * BLOCK)
        for folder, name, age, seen, blocks in declared
    ]
    held = b"c/alice/held"
    found = planned(rule, files, held)
    going = {action.file.path: action for action in found.actions}
    assert len(going) == len(found.actions)
    for action in found.actions:
        youngest = max(action.file.mtime, action.file.first_seen)
        assert NOW - youngest >= rule.min_age
        assert action.file.name != b".keep"
        assert action.file.path != held
        due = ttl is not None and action.clock_at + ttl < NOW
        assert action.reason == ("expired" if due else "quota")
        assert recheck(rule, classifier, action.file.path, action.file, NOW, action) is None
    low = quota.high if quota.low is None else quota.low
    assert quota.high is not None
    assert low is not None
    for holding in holdings_of(rule, files):
        mine = [f for f in files if holding.child is None or rule.child_of(f.directory) == holding.child]
        gone = [f for f in mine if f.path in going]
        forced = [f for f in gone if going[f.path].reason == "quota"]
        after_ttl = holding.used - _sum([f for f in gone if f not in forced])
        after = holding.used - _sum(gone)
        over = after_ttl.allocated >= quota.high and after_ttl.allocated > low
        crowded = quota.files is not None and after_ttl.files > quota.files
        if not (over or crowded) or not rule.evicts:
            assert not forced
            continue
        met = (not over or after.allocated <= low) and (not crowded or after.files <= (quota.files or 0))
        free = [f for f in mine if f.path not in going and f.clock is not None and f.path != held
                and NOW - max(f.mtime, f.first_seen) >= rule.min_age and (f.allocated or crowded)]  # fmt: skip
        assert met or not [f for f in free if f.allocated or not over]
        if forced and met:
            last = max(forced, key=order_key(rule))
            less = after + Used(1, last.allocated)
            assert (over and less.allocated > low) or (crowded and less.files > (quota.files or 0))
            assert all(order_key(rule)(f) > order_key(rule)(last) for f in free if f.allocated)


def _sum(files: list[IndexedFile]) -> Used:
    return Used(len(files), sum(file.allocated for file in files))


@pytest.mark.parametrize(
    ("used", "quota", "expected"),
    [
        (Used(1, 99), {"high": 100}, None),
        (Used(1, 100), {"high": 100}, None),
        (Used(1, 101), {"high": 100}, Used(0, 1)),
        (Used(1, 100), {"high": 100, "low": 90}, Used(0, 10)),
        (Used(1, 99), {"high": 100, "low": 90}, None),
        (Used(12, 5), {"high": None, "files": 10}, Used(2, 0)),
        (Used(12, 101), {"high": 100, "files": 10}, Used(2, 1)),
    ],
)
def test_where_a_quota_starts_and_stops(used: Used, quota: dict[str, Any], expected: Used | None) -> None:
    """At `high` it starts, at `low` it stops; files are counted beside bytes."""
    assert Holding(rule_of(quota=quota), used).over() == expected


def test_a_quota_without_ttl_only_warns() -> None:
    """Deliverables do not vanish because there are too many, unless the class says so."""
    classifier = Classifier((rule_of(ttl=None),))
    files = [indexed(f"c/{n}", classifier, mtime=NOW - DAY, size=BLOCK) for n in range(12)]
    warned = planned(rule_of(ttl=None), files)
    assert (len(warned.actions), [holding.as_json()["over"] for holding in warned.quotas]) == (0, [True])
    assert len(planned(rule_of(ttl=None, evict=True), files).actions) == 2


def test_what_expires_counts_before_the_quota() -> None:
    """What goes by its ttl makes room already; only the rest is evicted, the oldest first."""
    rule = rule_of()
    classifier = Classifier((rule,))
    files = [indexed(f"c/{n:02}", classifier, mtime=NOW - n * DAY - 7200, size=BLOCK) for n in range(9)]
    files += [indexed(f"c/new{n}", classifier, mtime=NOW - 7200, size=BLOCK) for n in range(5)]
    found = planned(rule, files)
    assert [(action.file.name, action.reason) for action in found.actions] == [
        (b"08", "expired"),
        (b"07", "expired"),
        (b"06", "quota"),
        (b"05", "quota"),
    ]
    assert found.totals()["reasons"]["quota"]["files"] == 2


def test_all_names_of_an_inode_go_before_its_blocks_count() -> None:
    """A name less of a file with two names frees nothing: the quota goes on until both have gone."""
    rule = rule_of(quota={"high": 2 * BLOCK})
    classifier = Classifier((rule,))
    twin = [indexed(f"c/{n}", classifier, mtime=NOW - 5 * DAY + n, size=BLOCK)._replace(links=2,
                    identity=Identity(9, 0), charged=not n) for n in range(2)]  # fmt: skip
    rest = [
        indexed(f"c/x{n}", classifier, mtime=NOW - DAY, size=BLOCK)._replace(identity=Identity(n, 0)) for n in (1, 2)
    ]
    assert [action.file.name for action in planned(rule, twin + rest).actions] == [b"0", b"1"]


def test_a_class_by_access_gives_way_in_the_order_of_real_use() -> None:
    """Stored clocks are lower bounds: what was read since comes later than its place in the index."""
    rule = rule_of(clocks=("atime",), arrival_floor=False)
    classifier = Classifier((rule,))
    files = [indexed(f"c/{n}", classifier, mtime=0, atime=NOW - (9 - n) * 3600) for n in range(6)]
    files[0] = files[0]._replace(used_at=NOW - 6 * 3600 + 1)
    files[2] = files[2]._replace(used_at=NOW)
    names = [file.name for file in in_true_order(rule, files)]
    assert names == [b"1", b"3", b"0", b"4", b"5", b"2"]


@given(sizes=st.lists(st.integers(0, 5), max_size=40), files=st.integers(0, 10), size=st.integers(0, 40))
def test_the_first_of_many_in_one_pass(sizes: list[int], files: int, size: int) -> None:
    """The bounded heap chooses what sorting everything would."""
    rule = rule_of()
    classifier = Classifier((rule,))
    made = [
        indexed(f"c/{n}", classifier, mtime=(n * 7919) % 101, size=blocks * BLOCK) for n, blocks in enumerate(sizes)
    ]
    need = Used(files, size * BLOCK)
    expected: list[IndexedFile] = []
    for file in sorted(made, key=order_key(rule)):
        if len(expected) >= files and sum(one.allocated for one in expected) >= size * BLOCK:
            break
        expected.append(file)
    assert first_of(rule, made, need) == expected


def test_the_guards_see_what_a_quota_takes() -> None:
    """Evicting three quarters of the store is refused like expiring them, and cut like it."""
    rule = rule_of(quota={"high": BLOCK})
    classifier = Classifier((rule,))
    files = [indexed(f"c/{n}", classifier, mtime=NOW - DAY, size=BLOCK) for n in range(8)]
    refused = planned(rule, files, guards=Guards(max_fraction=0.5, min_files=0))
    assert (refused.refused is not None and refused.refused.guard, len(refused.actions)) == ("max_fraction", 7)
    cut = planned(rule, files, guards=Guards(max_fraction=1, max_files=3))
    assert (len(cut.actions), cut.truncated, dict(cut.kept)) == (3, True, {"postponed": 4})
