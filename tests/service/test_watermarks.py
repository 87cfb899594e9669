"""Watermarks on real, small, full filesystems: the trash first, then files in order, down to the low mark."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program
from tests.service.policies import aged, enforced, kept

MIB = 2**20
CONFIGURATION = (
    enforced(aged("uploads"), aged("temp"), kept("outputs")) + '[watermark]\nMARK\norder = ["temp", "uploads"]\n'
)
SPACE = "space = { high = 0.80, low = 0.60 }"


def write(root: Path, name: str, size: int, days: int) -> bool:
    """Make a file of `size` bytes, `days` old; False when there is no room for it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(os.urandom(size))
    except OSError:
        path.unlink(missing_ok=True)
        return False
    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    return True


def fill(path: Path) -> None:
    """Write until not a byte more fits."""
    with suppress(OSError), path.open("wb", buffering=0) as opened:
        while opened.write(b"x" * 512):
            pass


def share(root: Path) -> float:
    """Return what df shows."""
    found = os.statvfs(root)
    used = found.f_blocks - found.f_bfree
    return used / (used + found.f_bavail)


def configure(root: Path, mark: str = SPACE) -> None:
    """Write the policy."""
    (root / "indexer.toml").write_text(CONFIGURATION.replace("MARK", mark))


def left(root: Path, folder: str) -> list[str]:
    """Return the names that are still there."""
    return sorted(path.name for path in (root / folder).iterdir())


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_filesystem_that_is_full_to_the_last_block(kind: str, mount: Callable[..., Path], program: Program) -> None:
    """Filled until nothing fits any more: classes give way in order, the oldest first, down to the low mark."""
    root = mount(kind, size=16, options="")
    configure(root)
    write(root, "outputs/final", MIB, 400)
    write(root, "temp/young", MIB, 1)
    write(root, "temp/old", MIB, 9)
    program.json("scan", root)
    program.json("cleanup", "-y", root)  # the ledger is there
    count = 0
    while write(root, f"uploads/{count:03}", MIB, 20 - count % 20):
        count += 1
    while write(root, f"uploads/small{count}", 4096, 0):
        count += 1
    assert share(root) > 0.95
    done = program.json("cleanup", "-y", root)
    (said,) = done["watermarks"]
    assert (said["filesystem"], said["mark"], said["stopped"]) == ("", "space", "")
    assert share(root) <= 0.65
    assert left(root, "temp") == []
    assert left(root, "outputs") == ["final"]
    assert done["bytes_trashed"] == 0
    assert done["bytes_freed"] >= said["needed_bytes"]
    assert done["runs"][0] == done["run"]
    marks = ",".join(map(str, done["runs"]))
    counted = program.json("sql", f"SELECT count(*) FROM actions WHERE run IN ({marks})", "-C", root)["rows"]
    assert counted == [[done["files_removed"]]]
    again = program.json("cleanup", "-y", root)
    assert (again["files_removed"], again["watermarks"]) == (0, [])


@pytest.mark.parametrize(("kind", "full_of"), [("tmpfs", "inodes"), ("ext4", "bytes")])
def test_a_disk_that_fills_before_the_first_run(
    kind: str, full_of: str, mount: Callable[..., Path], program: Program
) -> None:
    """One scan is enough: plan, and the first cleanup ever, work where not a byte or not an inode is left."""
    inodes = {"inodes": 300} if full_of == "inodes" else {}
    root = mount(kind, size=16, options="", **inodes)
    configure(root, SPACE + "\ninodes = { high = 0.80, low = 0.60 }")
    write(root, "temp/old", MIB, 9)
    program.json("scan", root)
    size, count = (1, 0) if inodes else (MIB, 0)
    while write(root, f"temp/{count:03}", size, 8):
        count += 1
    while not inodes and write(root, f"outputs/{count:03}", 4096, 0):
        count += 1
    if not inodes:
        fill(root / "outputs/last")
    foretold = program.json("plan", root)
    assert foretold["actions"][0]["path"] == "temp/old"
    assert program.json("cleanup", "-n", root)["watermarks"][0]["mark"] == ("inodes" if inodes else "space")
    done = program.json("cleanup", "-y", root)
    assert done["files_removed"] > 0
    assert "old" not in left(root, "temp")
    assert done["watermarks"][0]["gained_files" if inodes else "gained_bytes"] > 0
    runs = program.json("report", "runs", "-C", root)["rows"]
    assert sum(run["files_removed"] for run in runs) == done["files_removed"]


def test_the_trash_goes_first(mount: Callable[..., Path], program: Program) -> None:
    """What was trashed frees nothing until a watermark empties it; no file goes while that is enough."""
    root = mount("tmpfs", size=64)
    configure(root, 'min_free = { at = "4MiB", until = "8MiB" }')
    for number in range(12):
        write(root, f"uploads/{number}", 2 * MIB, 31 if number < 6 else 5)
    program.json("scan", root)
    assert program.json("cleanup", "-y", root)["bytes_trashed"] == 12 * MIB
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    write(root, "other", free - 3 * MIB, 0)
    foretold = program.json("cleanup", "-n", root)
    assert (foretold["purged_files"], foretold["files_removed"], foretold["watermarks"][0]["purged_files"]) == (3, 0, 3)
    done = program.json("cleanup", "-y", root)
    (said,) = done["watermarks"]
    assert (said["mark"], said["stopped"], done["purged_files"], done["files_removed"]) == ("min_free", "", 3, 0)
    assert len(left(root, "uploads")) == 6


def test_explain_says_what_a_full_filesystem_takes(mount: Callable[..., Path], program: Program) -> None:
    """The young files of a class that gives way are due as the plan has it; the others stay."""
    root = mount("tmpfs", size=32)
    configure(root)
    for days in range(1, 5):
        write(root, f"temp/{days}", MIB, days)
    program.json("scan", root)
    assert program.json("explain", root / "temp/4")["makes_room"] is None
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    write(root, "other", free - MIB, 0)
    planned = {one["path"]: one["reason"] for one in program.json("plan", root)["actions"]}
    assert planned["temp/4"] == "watermark"
    for days in range(1, 5):
        said = program.json("explain", root / "temp" / str(days))
        reason = said["makes_room"] and said["makes_room"]["reason"]
        assert (reason, not said["blockers"]) == (planned.get(f"temp/{days}"), f"temp/{days}" in planned)


def test_inodes(mount: Callable[..., Path], program: Program) -> None:
    """A filesystem without inodes is as full as one without blocks."""
    root = mount("tmpfs", size=64, inodes=400)
    configure(root, "inodes = { high = 0.90, low = 0.50 }")
    write(root, "temp/first", 1, 29)
    program.json("scan", root)
    program.json("cleanup", "-y", root)
    number = 0
    while write(root, f"temp/{number:03}", 1, 28 - number // 20):
        number += 1
    done = program.json("cleanup", "-y", root)
    (said,) = done["watermarks"]
    assert (said["mark"], said["stopped"]) == ("inodes", "")
    found = os.statvfs(root)
    assert (found.f_files - found.f_ffree) / found.f_files <= 0.52
    assert "first" not in left(root, "temp")
    assert left(root, "temp")[-1] == f"{number - 1:03}"


def test_room_that_does_not_come_stops_the_run(mount: Callable[..., Path], program: Program) -> None:
    """Files with a second name outside of the class free nothing: the run stops in time and says why."""
    root = mount("tmpfs", size=64)
    configure(root, "space = { high = 0.50, low = 0.30 }")
    (root / "elsewhere").mkdir()
    for number in range(20):
        write(root, f"temp/{number:02}", 2 * MIB, 20)
        os.link(root / "temp" / f"{number:02}", root / "elsewhere" / f"{number:02}")
    program.json("scan", root)
    done: dict[str, Any] = program.json("cleanup", "-y", root)
    (said,) = done["watermarks"]
    assert said["stopped"] in {"disappointed", "exhausted"}
    assert said["gained_bytes"] < MIB


def test_a_dry_run_is_the_run(mount: Callable[..., Path], program: Program) -> None:
    """What is past its time is trashed, leaves the trash at once, and then as many files go as the plan has named."""
    root = mount("tmpfs", size=64)
    configure(root)
    for number in range(4):
        write(root, f"uploads/due{number}", 2 * MIB, 40)
    for number in range(22):
        write(root, f"temp/{number:02}", 2 * MIB, 25 - number)
    program.json("scan", root)
    plan = program.json("plan", root)
    assert [one["path"] for one in plan["actions"][:4]] == [f"uploads/due{number}" for number in range(4)]
    under = [one["path"] for one in plan["actions"] if one["reason"] == "watermark"]
    assert under == [f"temp/{number:02}" for number in range(len(under))]
    assert under
    assert {one["action"] for one in plan["actions"][4:]} == {"delete"}
    assert len(list((root / "temp").iterdir())) == 22
    said = program.run("cleanup", "-n", root).stdout
    assert "Too full (space): the store's filesystem needs" in said
    assert "From the trash: 4 files" in said
    dry = program.json("cleanup", "-n", root)
    done = program.json("cleanup", "-y", root)
    for key in ("purged_files", "purged_bytes", "bytes_trashed"):
        assert dry[key] == done[key], key
    assert abs(dry["files_removed"] - done["files_removed"]) <= 1  # the ledger itself has grown meanwhile
    assert dry["watermarks"][0]["stopped"] == done["watermarks"][0]["stopped"] == ""
    gone = [row[0] for row in program.sql(root, "SELECT path FROM actions WHERE reason = 'watermark' ORDER BY path")]
    assert gone[: len(under)] == under[: len(gone)]


def test_a_guard_that_refuses_leaves_the_trash_alone(mount: Callable[..., Path], program: Program) -> None:
    """Nothing is destroyed for a run that may not do the rest: the trash can still be restored."""
    root = mount("tmpfs", size=16) / "store"
    for number in range(3):
        write(root, f"temp/old{number}", MIB, 40)
    for number in range(9):
        write(root, f"uploads/new{number}", MIB, 1)
    configure(root)
    program.run("init", root)
    program.run("expire", root, "--yes")
    assert left(root, "temp") == []
    policy = root / "indexer.toml"
    mark = "min_free = { at = '1TiB', until = '1TiB' }"
    text = policy.read_text().replace(SPACE, mark)
    policy.write_text(text.replace("max_fraction = 1", "max_fraction = 0.1\nmin_files = 0"))
    result = program.json("cleanup", root, "--yes", exits=3)
    assert (result["refused"], result["purged_files"]) == ("max_fraction", 0)
    assert len(left(root, "uploads")) == 9
    program.run("-C", root, "restore", "--run", "1", "--yes")
    assert left(root, "temp") == ["old0", "old1", "old2"]


def test_a_declared_capacity_counts_before_the_filesystem_does(mount: Callable[..., Path], program: Program) -> None:
    """Three quarters of the disk are free, and the store has used up what it was given; a dry run says the same."""
    root = mount("tmpfs", size=64, options="")
    configure(root, SPACE + '\ncapacity = "10MiB"')
    write(root, "outputs/final", MIB, 400)
    for number in range(8):
        write(root, f"temp/{number}", MIB, 20 - number)
    program.run("scan", root)
    assert share(root) < 0.4
    told = program.json("cleanup", "-n", root)
    done = program.json("cleanup", "-y", root)
    assert 3 <= done["files_removed"] <= 4  # the databases lie on the same disk, and grow by the run
    assert left(root, "temp") == [str(number) for number in range(done["files_removed"], 8)]
    (mark,) = done["watermarks"]
    assert (mark["mark"], mark["needed_bytes"], mark["stopped"]) == ("space", 3 * MIB, "")
    assert (told["files_removed"], told["watermarks"][0]["needed_bytes"]) == (3, 3 * MIB)
    assert program.json("cleanup", "-y", root)["watermarks"] == []
