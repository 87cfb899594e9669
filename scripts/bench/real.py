"""Real programs fill a watched store; after each the index must equal a plain walk. Then files expire and come back."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from scripts.bench.harness import Report, Settings, Table
from scripts.bench.programs import STEPS, Job, prepare
from tests.program import Program, Service
from tests.trees import walk

DAY = 86_400
COLUMNS = ("kind", "size", "mtime", "links", "mode", "uid", "gid", "inode")

CONFIGURATION = """\
[store]
mode = "enforce"

[guards]
max_fraction = 0.9

[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "7d"
arrival_floor = false
min_age = "0s"

[[class]]
name = "frames"
match = ["frames/**"]
ttl = "30d"
arrival_floor = false
min_age = "0s"

[[class]]
name = "temp"
match = ["temp/**"]
ttl = "24h"
clock = ["mtime", "atime"]
arrival_floor = false
min_age = "0s"
"""


def measure(settings: Settings, package: str = "") -> Report:
    """Run all of it; `settings.files` (5,000) scales it, and less than 1,000 makes a small video and package.

    Figures: `differences` (names on which index and walk disagree after any step), `files`, `planned`, `removed`,
    `restored`, `changed` (names that are not as they were once everything is restored).
    """
    files = settings.files or 5_000
    large = files >= 1_000
    job = Job(
        root=settings.work / "store",
        outside=settings.work / "outside",
        seconds=60 if large else 2,
        picture="1280x720" if large else "160x120",
        package=package or "django",
        files=files,
    )
    job.root.mkdir()
    job.outside.mkdir()
    prepare(job)
    program = Program()
    report = Report(figures={"differences": 0})
    table = Table(
        "Real programs fill a watched store",
        ("what", "files then", "in s", "`settle` after, ms", "names on which index and walk differ"),
    )
    program.run("init", job.root, "--profile", "media")
    with program.watch(job.root) as service:
        for label, step in STEPS:
            started = time.perf_counter()
            step(job)
            ended = time.perf_counter()
            _compare(program, service, label, ended - started, table, report)
    _expire_and_restore(program, job, report, table)
    table.notes.append(
        "Compared after each step: "
        + ", ".join(COLUMNS)
        + ". Then files were aged by `os.utime`, planned, expired and restored beside the running service: "
        + ", ".join(f"{report.figures[name]:.0f} {name}" for name in ("planned", "removed", "restored", "changed"))
        + "."
    )
    report.tables.append(table)
    return report


def _compare(program: Program, service: Service, label: str, took: float, table: Table, report: Report) -> None:
    settled = service.settle()
    different = program.differences(service.store, COLUMNS)
    report.figures["differences"] += len(different)
    report.figures["files"] = len(walk(service.store))
    for path, (index, disk) in list(different.items())[:5]:
        print(f"{label}: {path!r}: index {index}, walk {disk}", file=sys.stderr)
    table.rows.append(
        (label, f"{report.figures['files']:,.0f}", f"{took:.1f}", f"{settled * 1000:.0f}", str(len(different)))
    )


def _expire_and_restore(program: Program, job: Job, report: Report, table: Table) -> None:
    (job.root / "indexer.toml").write_text(CONFIGURATION, encoding="utf-8")
    with program.watch(job.root) as service:
        aged = _age(job.root)
        before, content = walk(job.root), _content(job.root)
        _compare(program, service, "`os.utime` ages every other file", 0.0, table, report)
        due = {os.fsencode(action["path"]) for action in _plan(program, job.root)}
        report.figures["planned"] = len(due)
        report.figures["plan_differs"] = len({_as_text(path) for path in aged} ^ due)
        started = time.perf_counter()
        result = program.json("expire", job.root, "--yes")
        report.figures["removed"] = result["files_removed"]
        _compare(program, service, "`indexer expire`", time.perf_counter() - started, table, report)
        report.figures["left"] = len(aged & walk(job.root).keys())
        started = time.perf_counter()
        undone = program.json("-C", job.root, "restore", "--run", str(result["run"]), "--yes")
        report.figures["restored"] = (
            undone["restored"] if isinstance(undone["restored"], int) else len(undone["restored"])
        )
        _compare(program, service, "`indexer restore`", time.perf_counter() - started, table, report)
        after = walk(job.root)
        kept = [path for path in before if path in after and _lasting(before[path]) == _lasting(after[path])]
        report.figures["changed"] = len(before.keys() | after.keys()) - len(kept)
        restored = _content(job.root)
        report.figures["content_changed"] = sum(restored.get(path) != digest for path, digest in content.items())


def _age(root: Path) -> set[bytes]:
    """Make every other regular file of the three classes older than its class allows; return their paths."""
    aged = set()
    for position, (path, entry) in enumerate(walk(root).items()):
        top = path.partition(b"/")[0]
        if entry.kind != "file" or entry.links > 1:
            continue
        place = os.path.join(os.fsencode(root), path)
        if top in {b"uploads", b"frames", b"temp"} and position % 2:
            long_ago = time.time() - 90 * DAY
            os.utime(place, (long_ago, long_ago))
            aged.add(path)
        elif top in {b"uploads", b"frames", b"temp"}:
            os.utime(place)
    return aged


def _plan(program: Program, root: Path) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = program.json("plan", root)["actions"]
    return actions


def _as_text(path: bytes) -> bytes:
    """Return how a path is written in JSON: valid UTF-8 as it is, other bytes escaped."""
    return path.decode("utf-8", "backslashreplace").encode()


def _lasting(entry: Any) -> tuple[Any, ...]:
    """Return what a removal and its undoing must leave as it was; ctime is the kernel's."""
    return entry._replace(ctime_ns=0, atime_ns=0)  # type: ignore[no-any-return]


def _content(root: Path) -> dict[bytes, bytes]:
    found = {}
    for path, entry in walk(root).items():
        if entry.kind == "file":
            with open(os.path.join(os.fsencode(root), path), "rb") as stream:
                found[path] = hashlib.file_digest(stream, "sha256").digest()
    return found
