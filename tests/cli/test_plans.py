"""Plans that are kept: what an edited policy would change, and a plan that is written now and executed later."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program
from tests.trees import walk

DAY = 86_400
MIB = 2**20
CONFIG = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "7d"
arrival_floor = false
min_age = "0s"
QUOTA
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1d"
arrival_floor = false
min_age = "0s"
"""
AGES = {
    b"uploads/a": 9,
    b"uploads/b\xff": 8,
    b"uploads/c": 3,
    b"uploads/z": 1,
    b"temp/x": 2,
    b"temp/y": 0,
    b"other": 99,
}


@pytest.fixture
def root(tmp_path: Path, program: Program) -> Path:
    """Return a store that has been scanned, each file of it one MiB and some days old."""
    for name, days in AGES.items():
        write(tmp_path, name, days)
    (tmp_path / "indexer.toml").write_text(CONFIG.replace("QUOTA", ""))
    program.json("scan", tmp_path)
    return tmp_path


def write(root: Path, name: bytes, days: float) -> None:
    """Make one file."""
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(os.urandom(MIB))
    os.utime(path, (time.time() - days * DAY,) * 2)


def left(root: Path) -> set[bytes]:
    """Return which of the files are there."""
    return {path for path in walk(root) if path in AGES}


def paths(actions: list[dict[str, Any]]) -> set[str]:
    """Return the paths of actions."""
    return {action["path"] for action in actions}


def test_an_edit_of_the_policy_is_shown_before_it_is_made(root: Path, program: Program, tmp_path_factory: Any) -> None:
    """A ttl shortened, one removed, a class that now covers what was in none: what newly goes, and newly stays."""
    edited = tmp_path_factory.mktemp("edited") / "new.toml"
    edited.write_text(
        CONFIG.replace("QUOTA", "").replace('"7d"', '"2d"').replace('ttl = "1d"\n', "")
        + '[[class]]\nname = "rest"\nmatch = ["other"]\nttl = "1d"\narrival_floor = false\nmin_age = "0s"\n'
    )
    before = left(root)
    change = program.json("plan", root, "--policy", edited)
    assert paths(change["goes"]) == {"uploads/c", "other"}
    assert paths(change["stays"]) == {"temp/x"}
    assert change["totals"]["goes"]["classes"]["rest"]["files"] == 1
    assert change["refused"] is None
    assert left(root) == before
    assert paths(program.json("plan", root, "--policy", edited, "--class", "rest")["goes"]) == {"other"}
    assert "Would newly go: 2 files" in program.run("plan", root, "--policy", edited).stdout
    lines = [json.loads(line) for line in program.run("plan", root, "--policy", edited, "--jsonl").stdout.splitlines()]
    assert {(line["change"], line["path"]) for line in lines} >= {("stays", "temp/x"), ("goes", "other")}
    same = program.json("plan", root, "--policy", root / "indexer.toml")
    assert (same["goes"], same["stays"]) == ([], [])


def test_a_new_quota_is_compared(root: Path, program: Program, tmp_path_factory: Any) -> None:
    """What goes for a quota that is not there yet is what a run takes once it is."""
    edited = tmp_path_factory.mktemp("edited") / "new.toml"
    edited.write_text(CONFIG.replace("QUOTA", "quota = { files = 1 }"))
    (one,) = program.json("plan", root, "--policy", edited)["goes"]
    assert (one["path"], one["reason"]) == ("uploads/c", "quota")
    (root / "indexer.toml").write_text(edited.read_text())
    reasons = {action["path"]: action["reason"] for action in program.json("plan", root)["actions"]}
    assert reasons["uploads/c"] == "quota"


def test_an_invalid_policy_is_refused_with_all_its_errors(root: Path, program: Program, tmp_path_factory: Any) -> None:
    """As `config check` would."""
    edited = tmp_path_factory.mktemp("edited") / "new.toml"
    edited.write_text('[[class]]\nname = "x"\nmatch = ["x/**"]\nttl = "7 parsecs"\n')
    program.json("plan", root, "--policy", edited, exits=2)
    program.json("plan", root, "--policy", edited, "--out", "x", exits=2)


def test_a_written_plan_takes_what_has_not_changed(root: Path, program: Program, tmp_path_factory: Any) -> None:
    """Of four files one is touched, one replaced by another inode, one gone: one goes, the others are counted."""
    write(root, b"uploads/d", 20)
    file = tmp_path_factory.mktemp("plans") / "plan.jsonl"
    program.run("plan", root, "--out", file)
    head, *lines = map(json.loads, file.read_text().splitlines())
    assert (head["indexer_plan"], head["files"], len(lines)) == (1, 4, 4)
    now = time.time()
    os.utime(root / "uploads" / "a", (now, now))
    (root / "temp" / "x").unlink()
    (root / "uploads" / "d").rename(root / "away")
    write(root, b"uploads/d", 20)
    write(root, b"uploads/e", 30)  # due, and not in the plan
    dry = program.json("cleanup", "-n", root, "--plan", file)
    done = program.json("cleanup", "-y", root, "--plan", file)
    assert (dry["files_removed"], dry["kept"]) == (done["files_removed"], done["kept"])
    assert (done["files_removed"], done["kept"]) == (1, {"changed": 2, "gone": 1})
    assert b"uploads/b\xff" not in left(root)
    assert (root / "uploads" / "e").exists()
    again = program.json("cleanup", "-y", root, "--plan", file)
    assert (again["files_removed"], again["kept"]) == (0, {"changed": 2, "gone": 2})


def test_a_written_plan_does_nothing_against_the_policy(root: Path, program: Program, tmp_path_factory: Any) -> None:
    """Held, due no longer by an edited policy, or over no quota any more: it stays, and is counted."""
    (root / "indexer.toml").write_text(CONFIG.replace("QUOTA", "quota = { files = 1 }"))
    file = tmp_path_factory.mktemp("plans") / "plan.jsonl"
    assert paths(program.json("plan", root, "--out", file)["actions"]) >= {"uploads/c", "uploads/a", "temp/x"}
    (root / "indexer.toml").write_text(CONFIG.replace("QUOTA", "").replace('"7d"', '"204h"'))
    program.run("hold", root / "temp" / "x")
    done = program.json("cleanup", "-y", root, "--plan", file)
    assert (done["files_removed"], done["kept"]) == (1, {"held": 1, "not_due": 1, "not_planned": 1})
    assert left(root) == set(AGES) - {b"uploads/a"}


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "no plan", '{"indexer_plan": 2}', '{"indexer_plan": 1, "store": "x"}']
)
def test_what_is_no_plan_is_refused(root: Path, program: Program, tmp_path_factory: Any, text: str) -> None:
    """Another file, another version, another store, a plan cut short: exit 2, and nothing goes."""
    file = tmp_path_factory.mktemp("plans") / "plan.jsonl"
    file.write_text(text)
    program.json("cleanup", "-y", root, "--plan", file, exits=2)
    program.run("plan", root, "--out", file)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    program.json("cleanup", "-y", root, "--plan", file, exits=2)
    program.json("cleanup", "-y", root, "--plan", file.parent / "missing", exits=2)
    assert left(root) == set(AGES)


def test_a_subtree_that_is_not_there_is_said(root: Path, program: Program) -> None:
    """`--under uplaods` finds nothing due, which is not the same as that nothing is; a script that cleans goes on."""
    for command in (("plan",), ("expire", "-n"), ("cleanup", "-n")):
        done = program.run(*command, root, "--under", root / "uplaods")
        assert "--under uplaods: there is nothing of this name in the store" in done.stderr, command
        assert "nothing of this name" not in program.run(*command, root, "--under", root / "uploads").stderr
