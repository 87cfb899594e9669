"""Quotas through the program: the oldest give way until the class is at its low mark, and the report says so."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer import StorageManager
from indexer.cli.explaining_text import explain_lines
from indexer.enforce.ledger import Ledger
from indexer.service.explaining import explain
from indexer.service.planning import decide_all
from indexer.service.quota_watch import COOL, FRUITLESS, QuotaWatch
from indexer.service.schedule import Schedule
from indexer.store import initialise_store, open_store
from tests.program import Program
from tests.service.policies import aged, enforced, kept
from tests.waiting import until

MIB = 2**20


def store(root: Path, *, order: str = "clock", action: str = "trash") -> None:
    """Make a tree that is over each of its quotas: `age` in days is the last digit of a name, `size` the first."""
    quota = {"high": "5MiB", "low": "3MiB", "order": order}
    (root / "indexer.toml").write_text(
        enforced(
            aged("cache", min_age="1h", action=action, quota=quota),
            aged("users", min_age=None, action="delete", quota={"high": "2MiB", "per": "child"}),
            kept("outputs", quota="1MiB"),
        )
    )
    for name in ("cache/1-5", "cache/2-4", "cache/1-3", "cache/2-2", "cache/1-0", "users/alice/1-3",
                 "users/alice/x/2-2", "users/bob/2-9", "outputs/3-9"):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(int(path.name[0]) * MIB))
        at = time.time() - int(path.name[-1]) * 86_400
        os.utime(path, (at, at))


def names(root: Path, folder: str) -> list[str]:
    """Return what is left."""
    return sorted(path.name for path in (root / folder).rglob("*") if path.is_file())


def test_a_cleanup_brings_every_place_to_its_low_mark(program: Program, tmp_path: Path) -> None:
    """The run does what the plan says; a class that only warns keeps everything; a second run has nothing to do."""
    store(tmp_path)
    program.json("scan", tmp_path)
    rows = program.json("report", "quotas", tmp_path)["rows"]
    assert [(row["class"], row["child"], row["over"], row["evicts"]) for row in rows] == [
        ("outputs", None, True, False),
        ("users", "users/alice", True, True),
        ("cache", None, True, True),
        ("users", "users/bob", False, True),
    ]
    plan = program.json("plan", tmp_path)
    assert [(one["path"], one["reason"]) for one in plan["actions"]] == [
        ("cache/1-5", "quota"),
        ("cache/2-4", "quota"),
        ("cache/1-3", "quota"),
        ("users/alice/1-3", "quota"),
    ]
    assert {(one["class"], one["child"]) for one in plan["quotas"]} == {
        ("cache", None), ("users", "users/alice"), ("outputs", None)}  # fmt: skip
    assert program.json("expire", "-y", tmp_path)["files_removed"] == 0
    done = program.json("cleanup", "-y", tmp_path)
    assert (done["files_removed"], done["bytes_trashed"], done["bytes_freed"]) == (4, 4 * MIB, MIB)
    assert names(tmp_path, "cache") == ["1-0", "2-2"]
    assert names(tmp_path, "users") == ["2-2", "2-9"]
    assert names(tmp_path, "outputs") == ["3-9"]
    assert program.json("cleanup", "-y", tmp_path)["files_removed"] == 0
    said = program.json("explain", tmp_path / "cache" / "1-5")
    assert (said["removed"]["reason"], said["removed"]["rule"]["class"]) == ("quota", "cache")


def test_explain_says_what_the_plan_takes(program: Program, tmp_path: Path) -> None:
    """Young files that give way to a quota are due, of classes with a ttl, without one, and of a child; others stay."""
    (tmp_path / "indexer.toml").write_text(
        enforced(
            aged("u", min_age="0s", action="trash", quota={"high": "3MiB", "low": "2MiB"}),
            aged("c", min_age="0s", action="trash", quota={"high": "2MiB", "per": "child"}),
            kept("e", quota="2MiB", evict=True, arrival_floor=False, min_age="0s"),
            kept("w", quota="2MiB"),
        )
    )
    for folder in ("u", "c/a", "c/b", "e", "w"):
        (tmp_path / folder).mkdir(parents=True)
        for days in range(1, 2 if folder == "c/b" else 5):
            path = tmp_path / folder / f"f{days}"
            path.write_bytes(os.urandom(MIB))
            os.utime(path, (time.time() - days * 86_400,) * 2)
    program.json("scan", tmp_path)
    planned = {one["path"]: one["reason"] for one in program.json("plan", tmp_path)["actions"]}
    assert {"u/f4", "u/f3", "c/a/f4", "e/f4"} <= planned.keys()
    for path in (each for each in tmp_path.glob("[ucew]/**/f*") if each.is_file()):
        name = str(path.relative_to(tmp_path))
        said = program.json("explain", path)
        reason = said["makes_room"] and said["makes_room"]["reason"]
        assert (reason, not said["blockers"]) == (planned.get(name), name in planned), name
    lines = list(explain_lines(program.json("explain", tmp_path / "u" / "f4"), int(time.time())))
    assert lines[-1] == (
        "  verdict    due: the next cleanup takes it: the quota of class u is exceeded (4.0 MiB of 3.0 MiB)"
    )


def test_one_plan_explains_many_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one made where nothing is over its quota, or nothing is young."""
    store(tmp_path)
    manager = StorageManager(initialise_store(tmp_path).root)
    manager.scan()
    plans: list[int] = []

    def deciding(*arguments: Any, **named: Any) -> Any:
        plans.append(1)
        return decide_all(*arguments, **named)

    monkeypatch.setattr("indexer.service.explaining.decide_all", deciding)
    paths = [f"cache/{name}" for name in names(tmp_path, "cache")]
    paths += ["users/bob/2-9", "outputs/3-9", "nothing", "cache"]
    found = manager.explain_all(paths)
    assert plans == [1]
    assert found == [manager.explain(path) for path in paths]
    assert [one["path"] for one in found if one["makes_room"]] == ["cache/1-3", "cache/1-5", "cache/2-4"]
    entered: list[int] = []

    @contextmanager
    def heavy() -> Iterator[None]:
        entered.append(len(plans))
        yield

    there = [manager.relative(path) for path in paths]
    assert explain(manager.store, there, int(time.time()), heavy()) == found
    manager.run_cleanup()
    assert explain(manager.store, there, int(time.time()), heavy())[0]["makes_room"] is None
    assert entered == [len(plans) - 1]  # around the one plan, and not where none is made
    plans.clear()
    assert [one["makes_room"] for one in manager.explain_all(paths)] == [None] * len(paths)
    assert plans == []


def test_the_largest_first(program: Program, tmp_path: Path) -> None:
    """By size, the older of two of the same size first."""
    store(tmp_path, order="size")
    program.json("scan", tmp_path)
    assert [one["path"] for one in program.json("plan", tmp_path)["actions"]][:2] == ["cache/2-4", "cache/2-2"]


EVENTS = """
[store]
mode = "MODE"
[guards]
max_fraction = 1
[[class]]
name = "cache"
match = ["cache/**"]
ttl = "30d"
arrival_floor = false
min_age = "0s"
quota = { files = 3 }
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1d"
arrival_floor = false
min_age = "0s"
"""


def fill(root: Path, folder: str, days: list[float]) -> None:
    """Make a file for each age in days, named by its place in the list."""
    (root / folder).mkdir(exist_ok=True)
    for number, age in enumerate(days):
        path = root / folder / f"{number}-{age:g}"
        path.write_bytes(b"x" * 5000)
        at = time.time() - age * 86_400
        os.utime(path, (at, at))


def ran(root: Path) -> list[tuple[str, str, int]]:
    """Return (kind, trigger, files removed) of each run of the ledger, the first first."""
    store = open_store(root)
    if not store.ledger_path.exists():
        return []
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        rows = [row for row in reversed(ledger.runs(100)) if row.finished is not None]
    return [(row.kind, row.trigger, row.files_removed) for row in rows]


def test_the_service_enforces_a_quota_at_once(program: Program, tmp_path: Path) -> None:
    """Files that bring a class over its quota start a run; other classes are left to their schedule."""
    (tmp_path / "indexer.toml").write_text(EVENTS.replace("MODE", "enforce"))
    fill(tmp_path, "temp", [5])
    with program.watch(tmp_path) as service:
        service.settle()
        assert ran(tmp_path) == []
        fill(tmp_path, "cache", [1, 2, 3, 4, 40])
        until(lambda: len(names(tmp_path, "cache")) == 3, "the eviction")
        service.settle()
    assert names(tmp_path, "cache") == ["0-1", "1-2", "2-3"]
    assert names(tmp_path, "temp") == ["0-5"]
    assert {run[:2] for run in ran(tmp_path)} == {("quota", "event")}
    assert sum(run[2] for run in ran(tmp_path)) == 2


def test_what_is_past_its_ttl_goes_before_what_is_over_the_quota(program: Program, tmp_path: Path) -> None:
    """A look after each poke, none while cooling down; a run that can do nothing is not repeated soon."""
    (tmp_path / "indexer.toml").write_text(EVENTS.replace("MODE", "enforce"))
    fill(tmp_path, "cache", [1, 2, 3, 40])
    program.json("scan", tmp_path)
    now = [1000.0]
    watch = QuotaWatch(open_store(tmp_path), monotonic=lambda: now[0])
    assert watch.look()
    assert names(tmp_path, "cache") == ["0-1", "1-2", "2-3"]
    fill(tmp_path, "cache", [1, 2, 3, 4, 5])
    program.json("scan", tmp_path)
    assert not watch.look()
    now[0] += COOL
    assert watch.look()
    assert len(names(tmp_path, "cache")) == 3
    fill(tmp_path, "cache", [1, 2, 3, 4])
    program.json("scan", tmp_path)
    program.run("hold", tmp_path / "cache")
    now[0] += COOL
    assert watch.look()
    now[0] += COOL
    assert not watch.look()
    now[0] += FRUITLESS
    assert watch.look()
    assert [run[2] for run in ran(tmp_path)] == [1, 2, 0, 0]


def test_what_nobody_can_take_keeps_nobody_from_the_rest(program: Program, tmp_path: Path) -> None:
    """A child whose files are held is tried again later; another child that comes over its quota goes at once."""
    text = EVENTS.replace("MODE", "enforce").replace("files = 3 }", 'files = 1, per = "child" }')
    (tmp_path / "indexer.toml").write_text(text)
    (tmp_path / "cache").mkdir()
    fill(tmp_path, "cache/held", [1, 2])
    program.json("scan", tmp_path)
    program.run("hold", tmp_path / "cache/held")
    now = [1000.0]
    watch = QuotaWatch(open_store(tmp_path), monotonic=lambda: now[0])
    assert watch.look()
    fill(tmp_path, "cache/free", [1, 2])
    program.json("scan", tmp_path)
    now[0] += COOL
    assert watch.look()
    assert (names(tmp_path, "cache/held"), names(tmp_path, "cache/free")) == (["0-1", "1-2"], ["0-1"])
    now[0] += COOL
    assert not watch.look()
    program.run("release", tmp_path / "cache/held")
    now[0] += FRUITLESS
    assert watch.look()
    assert names(tmp_path, "cache/held") == ["0-1"]


def test_report_mode_starts_no_run(program: Program, tmp_path: Path) -> None:
    """Nothing would come of it but a row in the ledger after each batch."""
    (tmp_path / "indexer.toml").write_text(EVENTS.replace("MODE", "report"))
    fill(tmp_path, "cache", [1, 2, 3, 4])
    program.json("scan", tmp_path)
    assert not QuotaWatch(open_store(tmp_path)).look()
    assert ran(tmp_path) == []


def test_the_schedule_of_quotas(program: Program, tmp_path: Path) -> None:
    """`schedule.quota` runs what a quota asks for, and nothing else; `status` tells of it."""
    text = EVENTS.replace("MODE", "enforce") + '[schedule]\nquota = "every 5 minutes"\n'
    (tmp_path / "indexer.toml").write_text(text)
    fill(tmp_path, "cache", [1, 2, 3, 4])
    fill(tmp_path, "temp", [5])
    program.json("scan", tmp_path)
    os.utime(tmp_path / "indexer.toml", (time.time() - 3600,) * 2)
    schedule = Schedule(open_store(tmp_path))
    schedule.attempt("quota")
    schedule.attempt("quota")
    assert ran(tmp_path) == [("quota", "schedule", 1)]
    assert names(tmp_path, "temp") == ["0-5"]
    (job,) = schedule.rows()
    assert (job["name"], job["result"], job["when"]) == ("quota", "done", "every 5 minutes")
