"""A C program creates files at full speed on a filesystem of its own while somebody watches."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.harness import REPOSITORY, Report, Settings, Table, cpu_of, ratios, spread
from tests.mounts import mounted
from tests.program import Program
from tests.trees import walk

DIRECTORIES = 100
BYTES = 100
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Watched:
    """One storm under one watcher; times in seconds."""

    rate: float
    """Files created per second while it was watched."""
    cpu: float
    """Processor time of the watcher, from before the storm until it had nothing more to do."""
    seen: int
    visible: float = 0.0
    """From the last close until the last row could be read."""
    settled: float = 0.0


def measure(
    settings: Settings, kinds: tuple[str, ...] = ("ext4", "tmpfs"), *, fresh: bool = False, peers: bool = True
) -> Report:
    """Measure with `settings.files` (200,000) files on each of `kinds`; figures: `KIND_missing`, `KIND_wrong` ….

    With `fresh` the directories are made by the storm too, so that they are met while it goes on. Without `peers`
    watchdog is not measured, and there is no table.
    """
    files = settings.files or 200_000
    storm = compiled(settings.work)
    report = Report()
    for kind in kinds:
        runs: dict[str, list[Watched]] = {"indexer": [], "default": [], "filter": []}
        for _ in range(settings.repeat):
            for watcher, watched in runs.items():
                if watcher != "indexer" and not peers:
                    continue
                space = max(64, files * 5 // 1024 + 200)  # a block each, and the index; MiB
                with mounted(kind, settings.work, size=space, inodes=files * 2 + 10_000) as place:
                    root = place / "store"
                    root.mkdir()
                    if not fresh:
                        for number in range(DIRECTORIES):
                            (root / f"d{number:03d}").mkdir()
                    command: list[str | Path] = [
                        storm,
                        root,
                        str(-DIRECTORIES if fresh else DIRECTORIES),
                        str(files),
                        str(BYTES),
                    ]
                    if watcher == "indexer":
                        watched.append(_indexer(root, command, files, kind, report))
                    else:
                        watched.append(_watchdog(root, command, files, watcher))
        if peers:
            report.tables.append(_table(kind, files, runs))
    return report


def compiled(work: Path, name: str = "storm") -> Path:
    """Compile the program that raises the storm, or another of those beside it."""
    program = work / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


def raise_storm(command: list[str | Path], files: int) -> tuple[float, float]:
    """Raise the storm; return files per second and the Unix time of its last close."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, last = (int(nanoseconds) / 1e9 for nanoseconds in done.stdout.split())
    return files / (last - first), last


def _indexer(root: Path, command: list[str | Path], files: int, kind: str, report: Report) -> Watched:
    program = Program()
    with program.watch(root) as service:
        service.settle()
        before = cpu_of(service.process.pid)
        rate, last = raise_storm(command, files)
        visible = _visible(root / ".indexer" / "index.db", files) - last
        service.settle()
        settled = time.time() - last
        cpu = cpu_of(service.process.pid) - before
        found = walk(root)
        known = program.indexed(root, ("size", "mtime"))
    missing = len(found.keys() - known.keys())
    wrong = sum(known.get(path) != (entry.size, entry.mtime) for path, entry in found.items())
    report.figures[f"{kind}_found"] = len(found)
    for name, value in (("missing", missing), ("wrong", wrong), ("extra", len(known.keys() - found.keys()))):
        report.figures[f"{kind}_{name}"] = report.figures.get(f"{kind}_{name}", 0) + value
    return Watched(rate, cpu, files - missing, visible, settled)


def _visible(index: Path, files: int) -> float:
    """Return the Unix time at which a reader sees all rows; the index's own counters say how many there are."""
    deadline = time.time() + PATIENCE
    connection = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
    try:
        while time.time() < deadline:
            (count,) = connection.execute("SELECT coalesce(sum(files), 0) FROM usage").fetchone()
            if count >= files:
                return time.time()
            time.sleep(0.001)
    finally:
        connection.close()
    return float("inf")


def _watchdog(root: Path, command: list[str | Path], files: int, mask: str) -> Watched:
    peer = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.watchdog_peer", root, mask],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    assert peer.stdout.readline() == "ready\n"
    before = cpu_of(peer.pid)
    rate, _ = raise_storm(command, files)
    cpu = _idle(peer.pid) - before
    peer.stdin.write("report\n")
    peer.stdin.flush()
    seen = json.loads(peer.stdout.readline())["created"]
    peer.stdin.close()
    peer.stdout.close()
    try:
        peer.wait(15)
    except subprocess.TimeoutExpired:
        peer.kill()  # it can be busy with nothing for ever after an overflow
        peer.wait()
    return Watched(rate, cpu, seen)


def _idle(pid: int) -> float:
    """Return the processor seconds of `pid` once it has used none for half a second, or after the patience is over."""
    deadline = time.monotonic() + PATIENCE
    used = -1.0
    while time.monotonic() < deadline:
        now = cpu_of(pid)
        if now == used:
            break
        used = now
        time.sleep(0.5)
    return used


def _table(kind: str, files: int, runs: dict[str, list[Watched]]) -> Table:
    table = Table(
        f"{files:,} creates into {DIRECTORIES} directories on a private {kind}",
        ("watcher", "files/s meanwhile", "lost", "CPU per file, µs", "CPU per file seen, µs"),
    )
    names = {
        "indexer": "`indexer watch` (into its index, verified)",
        "default": "watchdog `InotifyObserver`, counting handler",
        "filter": "the same with `event_filter`",
    }
    for watcher, watched in runs.items():
        lost = spread([100 * (1 - run.seen / files) for run in watched], "{:.1f}") + " %"
        each = spread([run.cpu / files * 1e6 for run in watched], "{:.1f}")
        seen = spread([run.cpu / max(run.seen, 1) * 1e6 for run in watched], "{:.1f}")
        table.rows.append((names[watcher], spread([run.rate for run in watched], "{:,.0f}"), lost, each, seen))
    ours = runs["indexer"]
    per_seen = {name: [run.cpu / max(run.seen, 1) for run in watched] for name, watched in runs.items()}
    table.notes.append(
        f"CPU per file seen, `indexer` against watchdog: {spread(ratios(per_seen['indexer'], per_seen['default']))}× "
        f"with its default mask, {spread(ratios(per_seen['indexer'], per_seen['filter']))}× with `event_filter` "
        "(target ≤ 0.45×). Last row visible "
        f"{spread([run.visible * 1000 for run in ours], '{:.0f}')} ms after the last close (target ≤ 100 ms); `settle` "
        f"answered after {spread([run.settled * 1000 for run in ours], '{:.0f}')} ms, its own start included. "
        "watchdog's handler only counts; `indexer` has stat'ed and stored every file."
    )
    return table
