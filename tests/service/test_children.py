"""`unit = "child"` through the program: a directory is planned, explained, reported, removed and restored as one."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from indexer import StorageManager
from indexer.store import initialise_store
from tests.program import Program
from tests.service.policies import aged, enforced
from tests.waiting import until

DAY = 86_400
CONFIGURATION = enforced(aged("jobs", exclude=["**/.keep"], unit="child", min_age="1h"))
QUOTA = CONFIGURATION + 'action = "delete"\nquota = { high = "100KiB", low = "60KiB", order = "ORDER" }\n'
FILES = {
    "old/frame.jpg": 40, "old/sub/frame.jpg": 35, "mixed/a": 90, "mixed/b": 2, "kept/a": 50, "kept/.keep": 50,
    "held/a": 60, "held/deep/b": 60, "used/a": 45, "used/b": 45, "loose-old": 33, "loose-new": 3,
}  # fmt: skip


def fill(root: Path, files: dict[str, int] = FILES, *, size: int = 5000, text: str = CONFIGURATION) -> None:
    """Make a store with files whose age in days is told."""
    (root / "indexer.toml").write_text(text)
    for name, days in files.items():
        path = root / "jobs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        at = time.time() - days * DAY
        os.utime(path, (at, at))


def left(root: Path) -> set[str]:
    """Return the names below jobs/ of all files there are."""
    found = os.walk(root / "jobs")  # which goes on where a directory vanishes meanwhile
    return {os.path.relpath(os.path.join(folder, name), root / "jobs") for folder, _, names in found for name in names}


def test_from_the_plan_to_the_trash_and_back(program: Program, tmp_path: Path) -> None:
    """One row a child wherever something is shown; whatever keeps one of its files keeps the child."""
    fill(tmp_path)
    (tmp_path / "jobs/old/empty").mkdir()
    program.json("scan", tmp_path)
    program.run("hold", tmp_path / "jobs/held/deep/b")
    plan = program.json("plan", tmp_path)
    assert [(one["path"], one.get("files")) for one in plan["actions"]] == [
        ("jobs/used", 2), ("jobs/old", 2), ("jobs/loose-old", None)]  # fmt: skip
    used = plan["actions"][0]
    assert (used["unit"], used["bytes"], used["allocated"], used["reason"]) == ("child", 10_000, 16_384, "expired")
    assert used["expires_at"] == used["clock_at"] + 30 * DAY
    assert (plan["totals"]["files"], plan["due"], plan["kept"]) == (5, 5, {"excluded": 1, "held": 2})
    lines = [json.loads(line) for line in program.run("plan", tmp_path, "--jsonl").stdout.splitlines()]
    assert [line["path"] for line in lines] == [one["path"] for one in plan["actions"]]
    assert "jobs/old/ (2 files)" in program.run("plan", tmp_path).stdout

    dry = program.json("cleanup", "-n", tmp_path)
    with (tmp_path / "jobs/used/b").open("rb"):
        done = program.json("cleanup", "-y", tmp_path)
    assert (dry["files_removed"], done["files_removed"], done["directories_removed"]) == (5, 3, 3)
    assert done["kept"] == {"excluded": 1, "held": 2, "in_use": 2}
    assert left(tmp_path) == set(FILES) - {"old/frame.jpg", "old/sub/frame.jpg", "loose-old"}
    assert not (tmp_path / "jobs/old").exists()

    said = program.json("explain", tmp_path / "jobs/old")
    assert (said["removed"]["child"], said["removed"]["files"], said["removed"]["bytes"]) == ("jobs/old", 2, 10_000)
    said = program.json("explain", tmp_path / "jobs/old/sub/frame.jpg")
    assert (said["removed"]["reason"], said["removed"]["child"]) == ("expired", "jobs/old")
    rows = program.sql(tmp_path, "SELECT path, child FROM actions WHERE outcome = 'trashed' ORDER BY path")
    assert rows == [
        ["jobs/loose-old", None], ["jobs/old/frame.jpg", "jobs/old"], ["jobs/old/sub/frame.jpg", "jobs/old"]
    ]  # fmt: skip

    back = program.json("restore", "-y", tmp_path / "jobs/old/frame.jpg")
    assert back["restored"] == [
        {"path": "jobs/old", "to": "jobs/old", "beside": False, "unit": "child", "files": 2}]  # fmt: skip
    assert left(tmp_path) == set(FILES) - {"loose-old"}
    assert (tmp_path / "jobs/old/empty").is_dir()


def test_it_is_explained_and_reported_as_one(program: Program, tmp_path: Path) -> None:
    """Dates, blockers and rows are the child's: in `explain`, the views, the reports and the published copy."""
    fill(tmp_path)
    program.json("scan", tmp_path)
    program.run("hold", tmp_path / "jobs/held/deep/b")
    mixed, member, held, kept = (
        program.json("explain", tmp_path / "jobs" / name) for name in ("mixed", "mixed/a", "held/a", "kept/a")
    )
    assert mixed["unit"] == member["unit"] == {
        "path": "jobs/mixed", "files": 2, "allocated": 16_384, "youngest": "jobs/mixed/b"}  # fmt: skip
    assert (mixed["class"], mixed["blockers"], member["blockers"]) == ("jobs", ["not_due"], ["not_due"])
    assert member["clock_at"] == mixed["clock_at"] == int((tmp_path / "jobs/mixed/b").stat().st_mtime)
    assert member["expires_at"] == member["clock_at"] + 30 * DAY
    assert (held["blockers"], kept["blockers"]) == (["held"], ["excluded"])

    due = {"jobs/old", "jobs/used", "jobs/held", "jobs/kept", "jobs/loose-old"}
    assert {row[0] for row in program.sql(tmp_path, "SELECT path FROM expired")} == due
    assert {row[0] for row in program.sql(tmp_path, "SELECT path FROM expiring")} == due | {
        "jobs/mixed", "jobs/loose-new"}  # fmt: skip
    assert program.sql(tmp_path, "SELECT allocated FROM expired WHERE path = 'jobs/old'") == [[16_384]]
    (dates,) = program.sql(tmp_path, "SELECT count(DISTINCT expires_at) FROM files WHERE directory = 'jobs/mixed'")
    assert dates == [1]
    rows = program.json("report", "expiring", tmp_path, "--within", "1d")["rows"]
    assert {row["path"]: row["bytes"] for row in rows} == {
        **dict.fromkeys(due, 10000), "jobs/loose-old": 5000}  # fmt: skip
    (row,) = program.json("report", "expiring", tmp_path, "--within", "1d", "--by", "class")["rows"]
    assert (row["class"], row["files"]) == ("jobs", 9)
    assert program.json("status", tmp_path, exits=1)["due_files"] == 9
    program.run("-C", tmp_path, "export", tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert {row[0] for row in copy.execute("SELECT path FROM expired")} == due
        assert len(copy.execute("SELECT * FROM expiring").fetchall()) == 7
    copy.close()


def test_at_a_later_time_and_by_another_policy(program: Program, tmp_path: Path) -> None:
    """`plan --at` and `plan --policy` know children too."""
    fill(tmp_path)
    program.json("scan", tmp_path)
    later = program.json("plan", tmp_path, "--at", "+29d")
    assert "jobs/mixed" in {one["path"] for one in later["actions"]}
    new = tmp_path / "new.toml"
    new.write_text(CONFIGURATION.replace('ttl = "30d"', 'ttl = "1d"'))
    change = program.json("plan", tmp_path, "--policy", new)
    assert {(one["path"], one.get("files")) for one in change["goes"]} == {
        ("jobs/mixed", 2), ("jobs/loose-new", None)}  # fmt: skip
    new.write_text(CONFIGURATION.replace('unit = "child"\n', ""))
    change = program.json("plan", tmp_path, "--policy", new)
    assert {one["path"] for one in change["goes"]} == {"jobs/kept/a", "jobs/mixed/a"}
    assert change["stays"] == []


def test_a_written_plan_takes_only_children_that_are_as_they_were(program: Program, tmp_path: Path) -> None:
    """A file that came into a child since, however old, keeps it."""
    fill(tmp_path)
    program.json("scan", tmp_path)
    program.run("plan", tmp_path, "--out", tmp_path / "plan.jsonl")
    fill(tmp_path, {"old/new-with-old-times": 80})
    done = program.json("cleanup", "-y", tmp_path, "--plan", tmp_path / "plan.jsonl")
    assert "old/frame.jpg" in left(tmp_path)
    assert not {"used/a", "held/a"} & left(tmp_path)
    assert (done["files_removed"], done["kept"]) == (5, {"not_due": 2})


@pytest.mark.parametrize(("order", "goes"), [("clock", {"a", "b"}), ("size", {"a", "c"}), ("first_seen", {"a", "b"})])
def test_a_quota_takes_whole_children(tmp_path: Path, order: str, goes: set[str]) -> None:
    """As many as it needs and no more, in the class's order; the report and the plan agree."""
    fill(tmp_path, {"a/1": 9, "a/2": 8, "b/1": 7, "b/2": 6}, size=15_000, text=QUOTA.replace("ORDER", order))
    fill(tmp_path, {"c/1": 5, "c/2": 4, "c/3": 3}, size=19_000, text=QUOTA.replace("ORDER", order))
    initialise_store(tmp_path)
    manager = StorageManager(tmp_path)
    manager.scan()
    plan = manager.plan()
    assert {(one["path"], one["reason"], one["unit"]) for one in plan["actions"]} == {
        (f"jobs/{name}", "quota", "child") for name in goes
    }
    done = manager.run_cleanup()
    assert done["files_removed"] == plan["totals"]["files"]
    assert {name.split("/")[0] for name in left(tmp_path)} == {"a", "b", "c"} - goes
    (row,) = manager.report("quotas")
    assert row["allocated"] <= 60 * 1024
    assert manager.plan()["actions"] == []


def test_explain_says_which_child_gives_way(program: Program, tmp_path: Path) -> None:
    """Of a child that goes whole for the quota each file, and the directory, is due; its name may be of any bytes."""
    text = QUOTA.replace("ORDER", "clock").replace('min_age = "1h"', 'min_age = "0s"')
    first = os.fsdecode(b"a\xff")
    fill(tmp_path, {f"{first}/1": 9, f"{first}/sub/2": 8, "b/1": 7, "c/1": 5, "loose": 2}, size=28_000, text=text)
    program.json("scan", tmp_path)
    assert [one["reason"] for one in program.json("plan", tmp_path)["actions"]] == ["quota", "quota"]
    for name, goes in ((first, True), (f"{first}/1", True), (f"{first}/sub", True), (f"{first}/sub/2", True),
                       ("b", True), ("b/1", True), ("c", False), ("c/1", False), ("loose", False)):  # fmt: skip
        said = program.json("explain", tmp_path / "jobs" / name)
        reason = said["makes_room"] and said["makes_room"]["reason"]
        assert (reason, said["blockers"]) == (("quota", []) if goes else (None, ["not_due"])), name


def test_the_service_keeps_their_clocks(program: Program, tmp_path: Path) -> None:
    """Files that come, go and are touched while it runs move the date of their child, to the second."""
    fill(tmp_path)
    with program.watch(tmp_path, "--no-schedule") as service:
        service.settle()

        def due() -> set[str]:
            service.settle()
            return {one["path"] for one in program.json("plan", tmp_path)["actions"]}

        first = {"jobs/held", "jobs/used", "jobs/old", "jobs/loose-old"}
        assert due() == first
        os.utime(tmp_path / "jobs/old/sub/frame.jpg")
        assert due() == first - {"jobs/old"}
        (tmp_path / "jobs/old/sub/frame.jpg").unlink()
        assert due() == first
        (tmp_path / "jobs/mixed/b").rename(tmp_path / "jobs/used/b2")
        assert due() == (first | {"jobs/mixed"}) - {"jobs/used"}
        (tmp_path / "jobs/kept/.keep").unlink()
        (tmp_path / "jobs/mixed").rename(tmp_path / "mixed")
        assert due() == (first | {"jobs/kept"}) - {"jobs/used"}
        text = (tmp_path / "indexer.toml").read_text()
        (tmp_path / "indexer.toml").write_text(text.replace('unit = "child"\n', ""))
        assert due() == {
            "jobs/held/a", "jobs/held/deep/b", "jobs/used/a", "jobs/used/b", "jobs/old/frame.jpg",
            "jobs/loose-old", "jobs/kept/a"}  # fmt: skip


def test_the_service_evicts_a_child_at_once(program: Program, tmp_path: Path) -> None:
    """What brings the class over its quota is answered within a moment, by the oldest child as a whole."""
    text = QUOTA.replace("ORDER", "clock").replace('min_age = "1h"', 'min_age = "0s"')
    fill(tmp_path, {"a/1": 9, "a/2": 8, "b/1": 7}, size=15_000, text=text)
    with program.watch(tmp_path) as service:
        service.settle()
        fill(tmp_path, {"c/1": 5, "c/2": 4, "c/3": 3}, size=20_000, text=text)
        until(lambda: left(tmp_path) == {"c/1", "c/2", "c/3"}, "the eviction")
        service.settle()
    assert sorted(os.listdir(tmp_path / "jobs")) == ["c"]


@pytest.mark.parametrize("key", ["max_files = 1", 'max_bytes = "10KiB"'])
def test_a_child_is_never_cut_apart(program: Program, tmp_path: Path, key: str) -> None:
    """One that alone is more than a run may take is passed over, and said; the others go on."""
    text = CONFIGURATION.replace("[guards]", f"[guards]\n{key}")
    fill(tmp_path, {"big/a": 90, "big/b": 90, "small/a": 60}, text=text)
    program.json("scan", tmp_path)
    plan: dict[str, Any] = program.json("plan", tmp_path)
    assert ([one["path"] for one in plan["actions"]], plan["kept"]) == (["jobs/small"], {"too_large": 2})
    assert program.json("expire", "-y", tmp_path)["files_removed"] == 1
    assert left(tmp_path) == {"big/a", "big/b"}


def test_a_limit_counts_children(program: Program, tmp_path: Path) -> None:
    """`--limit 1` is the oldest child, with all of its files."""
    fill(tmp_path)
    program.json("scan", tmp_path)
    done = program.json("expire", "-y", tmp_path, "--limit", "1")
    assert (done["files_removed"], done["truncated"]) == (2, True)
    assert not (tmp_path / "jobs/held").exists()


def test_every_match_has_to_name_a_directory(program: Program, tmp_path: Path) -> None:
    """Else nobody could say which directory is a child."""
    fill(tmp_path, text=CONFIGURATION.replace('["jobs/**"]', '["jobs/**", "*.jpg"]'))
    done = program.json("config", "check", tmp_path / "indexer.toml", exits=2)
    assert 'unit = "child"' in done["errors"][0]["message"]
