"""Child directories that age as one: the clock of each, kept while files come, go and age and directories move."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from indexer.events import ACCESSED, Batch
from indexer.index.queries import Reader
from indexer.index.unit_queries import due_units, unit_at, units_in_order
from indexer.policy.units import unit_clock, unit_key
from indexer.rules import Quota, Rule
from tests.index.rig import NOW, Rig
from tests.reports.built import plans

DAY = 86_400
JOBS = Rule("jobs", ("jobs/**",), exclude=("**/.keep",), ttl=DAY, arrival_floor=False, unit="child")
USED = Rule("used", ("used/**",), ttl=DAY, clocks=("atime", "mtime"), arrival_floor=False, unit="child")
PLAIN = Rule("plain", ("plain/**",), ttl=DAY, arrival_floor=False)
RULES = (JOBS, USED, PLAIN)
TREE: dict[str, Any] = {
    "jobs": {"a": {"1": b"x", "sub": {"2": b"y"}}, "b": {"1": b"z", ".keep": b""}, "loose": b"l"},
    "used": {"u": {"1": b"1", "2": b"2"}},
    "plain": {"p": {"1": b"1"}},
}


def told(rig: Rig) -> dict[tuple[str, bytes], tuple[int, bool]]:
    """Return {(class, child): (clock, dirty)} as the table has it."""
    with Reader.open(rig.path) as reader:
        rows = reader.connection.execute(
            "SELECT c.name, u.directory_id, u.clock, u.dirty FROM unit u JOIN class c ON c.id = u.class_id"
        )
        return {(row[0], reader.directory_path(row[1]) or b"?"): (row[2], bool(row[3])) for row in rows.fetchall()}


def true(rig: Rig) -> dict[tuple[str, bytes], tuple[int, bool]]:
    """Return the same from the files, one by one."""
    found: dict[tuple[str, bytes], tuple[int, bool]] = {}
    with Reader.open(rig.path) as reader:
        for path in rig.paths():
            file = reader.file(path)
            assert file is not None
            rule = next((rule for rule in rig.rules if rule.name == file.class_name), None)
            child = rule.child_of(file.directory) if rule is not None and rule.unit == "child" else None
            if rule is None or child is None or file.clock is None:
                continue
            clock = max(file.clock, file.used_at) if "atime" in rule.clocks else file.clock
            had = found.get((rule.name, child), (clock, False))
            found[rule.name, child] = max(had[0], clock), False
    return found


def at(path: Path, when: int) -> None:
    """Set the times of a file."""
    os.utime(path, (when, when))


def test_a_child_is_as_old_as_its_youngest_file(tmp_path: Path) -> None:
    """After a first scan each child has one row; loose files and classes of single files have none."""
    with Rig(tmp_path, TREE, RULES) as rig:
        for number, name in enumerate(("a/1", "a/sub/2", "b/1")):
            at(rig.root / "jobs" / name, 1000 + number)
        rig.changed("jobs/a/1", "jobs/a/sub/2", "jobs/b/1")
        assert told(rig) == true(rig)
        assert told(rig)["jobs", b"jobs/a"] == (1001, False)
        assert set(told(rig)) == {("jobs", b"jobs/a"), ("jobs", b"jobs/b"), ("used", b"used/u")}


def test_what_makes_it_younger_is_written_at_once_and_only_once(tmp_path: Path) -> None:
    """A hundred new files in a batch cost one row of the child."""
    with Rig(tmp_path, TREE, RULES) as rig:
        names = [f"jobs/a/new{number}" for number in range(100)]
        for number, name in enumerate(names):
            (rig.root / name).write_bytes(b"n")
            at(rig.root / name, NOW - 5000 + number)
        seen: list[str] = []
        rig.index.connection.set_trace_callback(seen.append)
        rig.apply(*names)
        rig.index.connection.set_trace_callback(None)
        assert len([one for one in seen if one.startswith("INSERT INTO unit")]) == 1
        assert told(rig) == true(rig)
        assert told(rig)["jobs", b"jobs/a"] == (NOW - 5000 + 99, False)


def test_when_the_youngest_goes_it_is_counted_anew(tmp_path: Path) -> None:
    """Until then the row is a lower bound, which is found as due and decided by the files."""
    with Rig(tmp_path, TREE, RULES) as rig:
        at(rig.root / "jobs/a/1", 1000)
        at(rig.root / "jobs/a/sub/2", 2000)
        rig.changed("jobs/a/1", "jobs/a/sub/2")
        (rig.root / "jobs/a/sub/2").unlink()
        rig.apply("jobs/a/sub/2")
        assert told(rig)["jobs", b"jobs/a"][1]
        with Reader.open(rig.path) as reader:
            (unit,) = [unit for unit in due_units(reader, JOBS, 1500) if unit.path == b"jobs/a"]
            assert unit_clock(JOBS, unit) == 1000
        rig.settle()
        assert told(rig)["jobs", b"jobs/a"] == (1000, False)
        at(rig.root / "jobs/a/1", 500)
        rig.changed("jobs/a/1")
        assert told(rig)["jobs", b"jobs/a"] == (500, False)
        (rig.root / "jobs/a/1").unlink()
        rig.changed("jobs/a/1")
        assert ("jobs", b"jobs/a") not in told(rig)


def test_a_use_of_one_file_keeps_the_child_young(tmp_path: Path) -> None:
    """In a class by access a read-only close is enough, and no file's clock index entry moves."""
    with Rig(tmp_path, TREE, RULES) as rig:
        rig.now += 1000
        rig.changed("used/u/1", kinds=ACCESSED)
        assert told(rig)["used", b"used/u"] == (int(rig.now), False)
        assert told(rig) == true(rig)


def test_directories_that_move_take_their_age_along(tmp_path: Path) -> None:
    """Into a child, out of it, to another name, to another class, and the class's own directory."""
    with Rig(tmp_path, TREE, RULES) as rig:
        moves = (
            ("jobs/a", "jobs/c"),
            ("jobs/c", "jobs/b/c"),
            ("jobs/b/c", "jobs/c"),
            ("jobs/c/sub", "jobs/sub"),
            ("jobs/sub", "plain/sub"),
            ("plain/sub", "used/sub"),
            ("jobs", "gone"),
            ("gone", "jobs"),
            ("used/sub", "used/u/sub"),
        )
        for number, (old, new) in enumerate(moves):
            for path in (rig.root / old).rglob("*"):
                if path.is_file():
                    at(path, 10_000 + number)
            rig.verify()
            (rig.root / old).rename(rig.root / new)
            rig.changed(old, new)
            assert (told(rig), rig.misclassified()) == (true(rig), {}), (old, new)


def test_another_policy_counts_them_anew(tmp_path: Path) -> None:
    """Turned on, moved, by another clock, turned off: in portions, and a restart in between changes nothing."""
    other = Rule("jobs", ("jobs/**", "plain/**"), ttl=DAY, clocks=("ctime",), unit="child")
    with Rig(tmp_path, TREE, (Rule("jobs", ("jobs/**",), ttl=DAY), PLAIN)) as rig:
        assert told(rig) == {}
        for rules in (RULES, (other,), (JOBS, USED), (PLAIN,)):
            rig.rules = rules
            rig.reopen()
            rig.turn(budget=2)
            rig.reopen()
            rig.settle()
            assert told(rig) == true(rig)
        assert told(rig) == {}


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_the_table_equals_the_files(tmp_path: Path, seed: int) -> None:
    """A hundred changes by chance, applied one by one or together: after each pause every row is true and clean."""
    dice = random.Random(seed)
    with Rig(tmp_path, TREE, RULES) as rig:
        told_of: list[str] = []
        for step in range(100):
            told_of += change(rig, dice, step)
            if dice.random() < 0.3:
                names = [name for name in dict.fromkeys(told_of) if (rig.root / name).parent.is_dir()]
                rig.apply(*names, drained=dice.random() < 0.7)
                told_of = []
            if dice.random() < 0.2:
                rig.verify()
                assert told(rig) == true(rig), step
        rig.verify()
        assert (told(rig), rig.wrong()) == (true(rig), {})


def change(rig: Rig, dice: random.Random, step: int) -> list[str]:
    """Do one thing to the tree; return the names it concerns."""
    files = sorted(str(path.relative_to(rig.root)) for path in rig.root.rglob("*") if path.is_file())
    folders = sorted(str(path.relative_to(rig.root)) for path in rig.root.rglob("*") if path.is_dir())
    what = dice.random()
    if not folders:
        (rig.root / "jobs" / f"j{step}").mkdir(parents=True)
        return ["jobs"]
    if what < 0.4 or not files:
        name = f"{dice.choice(folders)}/{dice.choice(['n', '.keep'])}{step}"
        (rig.root / name).write_bytes(b"n")
        at(rig.root / name, dice.randrange(10**6))
        return [name]
    if what < 0.6:
        name = dice.choice(files)
        at(rig.root / name, dice.randrange(10**6))
        return [name]
    if what < 0.75:
        name = dice.choice(files)
        (rig.root / name).unlink()
        return [name]
    old = dice.choice(folders)
    if what < 0.82:
        shutil.rmtree(rig.root / old)
        return [old]
    new = f"{dice.choice(folders)}/d{step}"
    if new.startswith(old + "/"):
        return []
    (rig.root / old).rename(rig.root / new)
    return [old, new]


def test_a_failed_transaction_notes_nothing(tmp_path: Path) -> None:
    """What its triggers told is forgotten with it, and told again by the next try."""
    with Rig(tmp_path, TREE, RULES) as rig:
        (rig.root / "jobs/a/new").write_bytes(b"n")
        at(rig.root / "jobs/a/new", NOW - 10)
        batch = rig.batch("jobs/a/new")
        before = told(rig)
        rig.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON file BEGIN SELECT raise(ABORT, 'full'); END")
        with pytest.raises(Exception, match="full"):
            rig.index.apply(batch)
        rig.execute("DROP TRIGGER temp.full")
        assert told(rig) == before
        rig.turn()
        assert told(rig) == before
        rig.index.apply(batch)
        assert told(rig) == true(rig) != before


@pytest.mark.parametrize("order", ["clock", "size", "first_seen"])
def test_units_come_in_the_order_in_which_they_give_way(tmp_path: Path, order: Any) -> None:
    """Children and loose files together, by true keys; no more children are read than are asked for."""
    rule = Rule("jobs", ("jobs/**",), arrival_floor=False, unit="child", quota=Quota(high=1, order=order))
    tree = {"jobs": {f"{number}": {"f": b"x" * 5000 * (number * 7 % 5)} for number in range(9)} | {"loose": b"l"}}
    with Rig(tmp_path, tree, (rule,)) as rig:
        for number in range(9):
            at(rig.root / f"jobs/{number}/f", 10_000 + number * 37 % 9)
        at(rig.root / "jobs/loose", 10_004)
        rig.verify()
        key = unit_key(rule)
        with Reader.open(rig.path) as reader:
            found = list(units_in_order(reader, rule, order, key))
            assert len(found) == 10
            assert found == sorted(found, key=key)
            seen: list[str] = []
            reader.connection.set_trace_callback(seen.append)
            next(units_in_order(reader, rule, order, key))
            reader.connection.set_trace_callback(None)
            assert len([one for one in seen if "file.directory_id = below.id" in one]) <= (3 if order == "clock" else 9)


def test_what_is_due_is_read_and_nothing_else(tmp_path: Path) -> None:
    """Children out of their own clock index, files by directory: the file table is never scanned."""
    with Rig(tmp_path, TREE, RULES) as rig, Reader.open(rig.path) as reader:
        seen: list[str] = []
        reader.connection.set_trace_callback(seen.append)
        list(due_units(reader, JOBS, NOW))
        list(units_in_order(reader, JOBS, "clock", unit_key(JOBS)))
        unit_at(reader, JOBS, b"jobs/a/sub")
        reader.connection.set_trace_callback(None)
        lines = [line for one in seen for line in plans(reader.connection, one)]
        assert "SEARCH unit USING COVERING INDEX unit_clock (class_id=? AND clock<?)" in lines
        assert not [line for line in lines if line.startswith(("SCAN file", "SCAN unit", "SCAN f ", "SCAN d"))]


def test_a_storm_in_one_child_does_not_count_it_again_each_time(tmp_path: Path) -> None:
    """While events are about it, a child is only marked; the first quiet turn counts it."""
    tree = {"jobs": {"big": {f"{number}": b"" for number in range(50)}}}
    with Rig(tmp_path, tree, (JOBS,)) as rig:
        for number in range(50):
            at(rig.root / f"jobs/big/{number}", 1000 + number)
        rig.verify()
        seen: list[str] = []
        rig.index.connection.set_trace_callback(seen.append)
        for number in range(49, 39, -1):
            (rig.root / f"jobs/big/{number}").unlink()
            rig.apply(f"jobs/big/{number}")
        assert not [one for one in seen if "min(f.first_seen)" in one]
        assert rig.index.busy
        rig.index.apply(Batch(rig.now))
        rig.index.connection.set_trace_callback(None)
        assert len([one for one in seen if "min(f.first_seen)" in one]) == 1
        assert told(rig) == {("jobs", b"jobs/big"): (1039, False)}
