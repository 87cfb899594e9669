"""Plans: nothing held, excluded, too young, in no class or not due; the oldest first; the same index, the same plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from indexer.policy.classes import Classifier
from indexer.policy.clocks import clock_of
from indexer.policy.plan import Plan, plan, recheck
from indexer.records import IndexedFile
from indexer.rules import Guards, Rule
from tests.policy.declared import candidates, indexed

NOW = 1_800_000_000
DAY = 86_400
RULES = (
    Rule("uploads", ("uploads/**",), exclude=("**/.keep",), ttl=7 * DAY),
    Rule("cache", ("cache/**",), ttl=3 * DAY, clocks=("mtime", "atime"), min_age=0),
    Rule("bare", ("bare/**",), ttl=DAY, arrival_floor=False, action="delete", max_fraction=1.0),
    Rule("outputs", ("outputs/**",)),
)
CLASSIFIER = Classifier(RULES)
OPEN = Guards(max_fraction=1.0, max_files=10**9, max_bytes=10**18)

AGES = st.integers(-DAY, 10 * DAY)
FILES = st.lists(
    st.builds(
        lambda directory, name, times, size, read: indexed(
            f"{directory}{name}",
            CLASSIFIER,
            mtime=NOW - times[0],
            atime=NOW - times[1],
            ctime=NOW - times[2],
            first_seen=NOW - times[3],
            used_at=read,
            size=size,
        ),
        st.sampled_from(["uploads/", "uploads/a/", "cache/", "bare/", "outputs/", "", "other/"]),
        st.sampled_from([".keep", "a", "b", "c", "d"]) | st.integers(0, 999).map(str),
        st.tuples(AGES, AGES, AGES, AGES),
        st.integers(0, 10_000),
        st.none() | AGES.map(lambda age: NOW - age),
    ),
    max_size=40,
    unique_by=lambda file: file.path,
)


def planned(files: list[IndexedFile], guards: Guards = OPEN, *, limit: int | None = None, held: bytes = b"\0") -> Plan:
    """Plan `files` under RULES; `held` is a prefix of paths that a hold covers."""
    return plan(
        candidates(files, RULES),
        guards=guards,
        live_files=len(files),
        now=NOW,
        blockers=lambda file: "held" if file.path.startswith(held) else None,
        rules=RULES,
        limit=limit,
    )


def due_by_definition(files: list[IndexedFile], held: bytes) -> Iterator[bytes]:
    """Yield what goes, written down from DESIGN §5 without the code under test."""
    for file in files:
        top = file.path.split(b"/")[0].decode()
        rule = next((rule for rule in RULES if rule.name == top), None)
        if rule is None or rule.ttl is None or b"/" not in file.path or file.path.startswith(held):
            continue
        if rule.name == "uploads" and file.name == b".keep":
            continue
        times = [file.mtime] + ([file.used_at] if "atime" in rule.clocks else [])
        last_write = [file.mtime]
        if rule.arrival_floor:
            times.append(file.first_seen)
            last_write.append(file.first_seen)
        if NOW - max(times) > rule.ttl and NOW - max(last_write) >= rule.min_age:
            yield file.path


@given(files=FILES, held=st.sampled_from([b"\0", b"uploads/a/", b"cache/", b"uploads/1"]))
def test_a_plan_is_exactly_what_the_rules_say(files: list[IndexedFile], held: bytes) -> None:
    """Never a held, excluded, too young, unclassified or undue file, and never one less."""
    found = planned(files, held=held)
    assert sorted(action.file.path for action in found.actions) == sorted(due_by_definition(files, held))
    for action in found.actions:
        assert action.expires_at == action.clock_at + (action.rule.ttl or 0)
        assert action.expires_at < NOW
        assert (action.reason, action.action) == ("expired", action.rule.action)


@given(files=FILES, shuffled=st.randoms(use_true_random=False))
def test_the_same_files_give_the_same_plan_in_any_order(files: list[IndexedFile], shuffled: object) -> None:
    """The order is by clock, then by path: a dry run and the run after it name the same files in the same order."""
    again = list(files)
    shuffled.shuffle(again)  # type: ignore[attr-defined]
    assert planned(files) == planned(again)


@given(files=FILES, most=st.integers(0, 12), size=st.integers(0, 100_000))
def test_a_cut_keeps_the_oldest(files: list[IndexedFile], most: int, size: int) -> None:
    """max_files and max_bytes leave a prefix of the whole plan, and say so."""
    whole = planned(files)
    cut = planned(files, replace(OPEN, max_files=most, max_bytes=size))
    assert cut.actions == whole.actions[: len(cut.actions)]
    assert len(cut.actions) <= most
    assert sum(action.file.allocated for action in cut.actions) <= size
    assert cut.truncated == (len(cut.actions) < len(whole.actions))
    assert cut.due == len(whole.actions)
    assert cut.kept.get("postponed", 0) == len(whole.actions) - len(cut.actions)
    if cut.truncated and len(cut.actions) < most:
        following = whole.actions[len(cut.actions)]
        assert sum(action.file.allocated for action in cut.actions) + following.file.allocated > size


def test_a_million_due_files_do_not_pile_up() -> None:
    """Only what can still be among the oldest is kept, and it is the oldest."""
    rule = RULES[2]
    files = (indexed(f"bare/{n}", CLASSIFIER, mtime=NOW - 2 * DAY - (n * 7919) % 20_000) for n in range(20_000))
    found = plan(
        ((rule, file) for file in files), guards=replace(OPEN, max_files=100), live_files=20_000, now=NOW, rules=RULES
    )
    assert [action.clock_at for action in found.actions] == [NOW - 2 * DAY - 19_999 + n for n in range(100)]
    assert (found.due, found.truncated) == (20_000, True)


@given(files=FILES, fraction=st.floats(0, 1), floor=st.integers(0, 20), limit=st.none() | st.integers(1, 20))
def test_a_plan_that_takes_too_much_is_refused(
    files: list[IndexedFile], fraction: float, floor: int, limit: int | None
) -> None:
    """max_fraction looks at the complete plan, max_files notwithstanding; only --limit makes it smaller."""
    guards = Guards(max_fraction=fraction, min_files=floor, max_files=1, max_bytes=10**18)
    found = planned(files, guards, limit=limit)
    # `bare` has a max_fraction of its own, 1.0, which nothing can exceed.
    concerned = sum(1 for action in planned(files).actions if action.rule.name != "bare")
    concerned = concerned if limit is None else min(concerned, limit)
    breach = concerned > floor and concerned > fraction * len(files)
    assert (found.refused is not None and found.refused.guard == "max_fraction") == breach


@given(files=FILES)
def test_the_check_before_the_removal_agrees_with_the_plan(files: list[IndexedFile]) -> None:
    """On an unchanged tree every planned file passes the second look, so that a dry run is the run."""
    for action in planned(files).actions:
        assert recheck(action.rule, CLASSIFIER, action.file.path, action.file, NOW) is None


def test_the_check_before_the_removal_sees_what_has_changed() -> None:
    """A file that was touched, used, moved or excluded since the plan stays, each for its own reason."""
    uploads, cache, _, outputs = RULES
    old = indexed("uploads/a", CLASSIFIER, mtime=NOW - 9 * DAY)
    kept = {
        recheck(uploads, CLASSIFIER, b"uploads/a", old._replace(mtime=NOW - 60), NOW),
        recheck(uploads, CLASSIFIER, b"uploads/a", old._replace(mtime=NOW - 2 * DAY), NOW),
        recheck(uploads, CLASSIFIER, b"cache/a", old, NOW),
        recheck(uploads, CLASSIFIER, b"elsewhere/a", old, NOW),
        recheck(uploads, CLASSIFIER, b"uploads/.keep", old, NOW),
        recheck(outputs, CLASSIFIER, b"outputs/a", old, NOW),
        recheck(cache, CLASSIFIER, b"cache/a", old._replace(used_at=NOW), NOW),
        recheck(uploads, CLASSIFIER, b"uploads/a", old._replace(used_at=NOW, atime=NOW), NOW),
    }
    assert kept == {"too_young", "not_due", "other_class", "unclassified", "excluded", "kept_forever", None}


def test_a_stale_lower_bound_is_not_a_reason() -> None:
    """A class by access is found by a bound; a file that was used since is passed over, not counted as kept."""
    file = indexed("cache/a", CLASSIFIER, mtime=NOW - 9 * DAY)._replace(used_at=NOW - DAY)
    assert (file.clock, clock_of(RULES[1], mtime=file.mtime, atime=file.atime, ctime=file.ctime, btime=None,
            first_seen=file.first_seen, used_at=file.used_at)) == (NOW - 9 * DAY, NOW - DAY)  # fmt: skip
    found = planned([file])
    assert (found.actions, dict(found.kept), found.due) == ((), {}, 0)


def test_the_document_of_a_plan() -> None:
    """`plan --json`: actions with reason and dates, totals by class and reason, the guard that refuses."""
    files = [
        indexed("uploads/caf\u00e9".encode() + b"\xff", CLASSIFIER, mtime=NOW - 8 * DAY, size=5000),
        indexed("bare/b", CLASSIFIER, mtime=NOW - 2 * DAY, size=10),
    ]
    found = planned(files, Guards(max_fraction=0.1, min_files=0))
    document = json.loads(json.dumps(found.as_json()))
    assert document["actions"] == [
        {
            "path": "uploads/café\\xff",
            "class": "uploads",
            "bytes": 5000,
            "allocated": 8192,
            "action": "trash",
            "reason": "expired",
            "clock_at": NOW - 8 * DAY,
            "expires_at": NOW - DAY,
        },
        {
            "path": "bare/b",
            "class": "bare",
            "bytes": 10,
            "allocated": 4096,
            "action": "delete",
            "reason": "expired",
            "clock_at": NOW - 2 * DAY,
            "expires_at": NOW - DAY,
        },
    ]
    assert document["totals"] == {
        "files": 2,
        "bytes": 5010,
        "allocated": 12288,
        "still_linked": 0,
        "classes": {
            "uploads": {"files": 1, "bytes": 5000, "allocated": 8192},
            "bare": {"files": 1, "bytes": 10, "allocated": 4096},
        },
        "reasons": {"expired": {"files": 2, "bytes": 5010, "allocated": 12288}},
    }
    assert (document["refused"], document["truncated"], document["due"], document["at"]) == (
        "max_fraction",
        False,
        2,
        NOW,
    )
    assert "look at `indexer plan`" in document["refusal"]["remedy"]
