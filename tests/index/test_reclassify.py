"""Classes again, after a directory moved or the policy changed: in portions, never by half, and only where needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.index import ahead
from indexer.index.queries import Reader
from indexer.rules import Rule
from tests.index.rig import NOW, Rig
from tests.trees import Node, make

HOT = Rule("hot", ("hot/**",), exclude=("hot/keep/**", "**/.keep"), ttl=1)
COLD = Rule("cold", ("cold/**",), ttl=1)
USED = Rule("used", ("used/**",), ttl=1, clocks=("atime", "mtime"))
RULES = (HOT, COLD, USED)

TREE: dict[str, Node] = {
    "hot": {"job": {f"{number}": b"x" * number for number in range(30)}, "keep": {"k": {"e": b"1"}}, ".keep": b""},
    "cold": {"deep": {"er": {"f": b"3"}}},
    "used": {"u": b"4"},
    "none": {"n": b"5"},
}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("hot/job", "cold/job"),
        ("hot/job", "used/job"),
        ("hot/job", "none/job"),
        ("none", "hot/none"),
        ("hot/keep/k", "hot/free"),
        ("hot/job", "hot/keep/job"),
        ("cold", "hot/cold"),
        ("used", "used2"),
    ],
)
def test_a_directory_s_move_gives_its_files_the_class_of_their_new_place(
    tmp_path: Path, source: str, target: str
) -> None:
    """Class, clock and counters: into another class, out of one, in and out of an exclude."""
    with Rig(tmp_path, TREE, RULES) as rig:
        assert rig.misclassified() == {}
        (rig.root / source).rename(rig.root / target)
        rig.changed(target, source)
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_a_move_within_a_class_reads_no_row(tmp_path: Path) -> None:
    """The counters say that all is in the right class already."""
    with Rig(tmp_path, TREE, RULES) as rig:
        (rig.root / "cold" / "deep").rename(rig.root / "cold" / "deeper")
        rig.apply("cold/deep", "cold/deeper")
        read: list[str] = []
        rig.index.connection.set_trace_callback(read.append)
        rig.settle()
        rig.index.connection.set_trace_callback(None)
        assert [statement for statement in read if "FROM file WHERE" in statement] == []
        assert rig.misclassified() == {}


def test_it_goes_on_in_portions(tmp_path: Path) -> None:
    """A large tree that moved is no reason to keep events waiting; until it is done, nothing is settled."""
    with Rig(tmp_path, {f"d{number}": {"f": b"1"} for number in range(40)}, RULES) as rig:
        (rig.root / "hot").mkdir()
        (rig.root / "all").mkdir()
        for number in range(40):
            (rig.root / f"d{number}").rename(rig.root / "all" / f"d{number}")
        rig.changed("hot", "all", *(f"d{number}" for number in range(40)))
        (rig.root / "all").rename(rig.root / "hot" / "all")
        rig.apply("all", "hot/all")
        portions = 0
        while not rig.index.settled:
            before = rig.value("SELECT count(*) FROM file WHERE class_id IS NOT NULL")
            rig.turn(budget=10)
            done = rig.value("SELECT count(*) FROM file WHERE class_id IS NOT NULL") - before
            assert done <= 10
            portions += 1
        assert portions > 4
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_a_move_whose_classes_were_not_done_is_done_by_the_next_life(tmp_path: Path) -> None:
    """The program ends between the move and the portions that follow it: no time of any file tells of that."""
    with Rig(tmp_path, TREE, RULES) as rig:
        (rig.root / "hot" / "job").rename(rig.root / "none" / "job")
        rig.apply("hot/job", "none/job")
        assert rig.misclassified() != {}
        rig.reopen()
        rig.settle()
        assert rig.misclassified() == {}
        assert rig.wrong() == {}
        rig.reopen()
        assert not rig.index.busy  # once is enough


def test_a_move_during_a_first_scan(tmp_path: Path) -> None:
    """Nothing is counted yet, so the counters cannot say that nothing has to be done."""
    with Rig(tmp_path, None, RULES) as rig:
        make(rig.root, {**TREE, "later": {"l": b"1"}})
        rig.first(budget=1)
        while not rig.value(
            "SELECT count(*) FROM file JOIN directory ON id = directory_id WHERE directory.name = 'job'"
        ):
            rig.turn(budget=1)
        assert rig.index.bulk
        (rig.root / "hot" / "job").rename(rig.root / "cold" / "job")
        rig.apply("hot/job", "cold/job")
        rig.settle()
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_another_policy_goes_through_everything(tmp_path: Path) -> None:
    """New classes, other clocks, excludes, order; classes that are gone stay known by name but live no more."""
    with Rig(tmp_path, TREE, RULES) as rig:
        policies = (
            (Rule("hot", ("hot/**",), ttl=1, clocks=("ctime",)), USED),
            (Rule("all", ("**",), ttl=1, arrival_floor=False),),
            (),
            (COLD, Rule("hot", ("**",), ttl=1, clocks=("atime",), arrival_floor=False)),
            RULES,
        )
        for rules in policies:
            rig.rules = rules
            rig.reopen()
            assert not rig.index.settled
            rig.settle()
            assert (rig.wrong(), rig.misclassified()) == ({}, {})
            live = {row[0] for row in rig.index.connection.execute("SELECT name FROM class WHERE live")}
            assert live == {rule.name for rule in rules}
        rig.reopen()
        assert rig.index.settled


def test_a_change_of_policy_that_was_interrupted_starts_again(tmp_path: Path) -> None:
    """The fingerprint is recorded with the last portion, not with the first."""
    with Rig(tmp_path, TREE, RULES) as rig:
        rig.rules = (Rule("all", ("**",), ttl=1),)
        rig.reopen()
        rig.turn(budget=3)
        rig.reopen()
        assert not rig.index.settled
        rig.settle()
        assert rig.misclassified() == {}


def test_a_directory_in_limbo_misses_no_change_of_policy(tmp_path: Path) -> None:
    """It has no path while the others are gone through; whoever claims it does the rest, by the new policy."""
    with Rig(tmp_path, TREE, RULES) as rig:
        (rig.root / "hot").rename(rig.root / "hot2")
        rig.apply("hot", drained=False)
        rig.rules = (Rule("hot", ("hot*/**",), ttl=1, clocks=("ctime",), arrival_floor=False), COLD, USED)
        rig.reopen()
        for _ in range(20):
            rig.index.apply(rig.batch(drained=False))
        rig.changed("hot2")
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_a_ttl_is_not_in_the_rows(tmp_path: Path) -> None:
    """Changing it rewrites nothing: what is due is found by the clock."""
    with Rig(tmp_path, TREE, RULES) as rig:
        os.utime(rig.root / "cold" / "deep" / "er" / "f", (5, 5))
        with Reader.open(rig.path) as reader:
            assert [file.path for file in reader.due("cold", NOW)] == [b"cold/deep/er/f"]


@pytest.mark.parametrize("walker", [False, True])
def test_what_is_ignored_from_now_on_leaves_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walker: bool
) -> None:
    """And what is no longer ignored comes back: by the quick pass alone, since a plan may follow it at once."""
    monkeypatch.setattr(ahead, "WORTH_A_WALKER", -1)
    with Rig(tmp_path, TREE, RULES) as rig:
        rig.index.parallel = walker
        rig.reopen(ignore=("hot/job/**", "**/n"))
        rig.quick()
        assert rig.paths() == {b"hot/keep/k/e", b"hot/.keep", b"cold/deep/er/f", b"used/u"}
        rig.reopen()
        rig.quick()
        assert (rig.wrong(), rig.misclassified()) == ({}, {})
