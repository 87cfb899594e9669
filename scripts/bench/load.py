"""A steady load for minutes, and rest after it: whether memory stays flat, how late the index is, what rest costs."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.harness import Report, Settings, Table, cpu_of
from scripts.bench.storm import compiled
from tests.capabilities import missing
from tests.mounts import mounted
from tests.program import Program, Service

EVENTS = 4
"""What the kernel reports of each file: created, modified, closed after writing, deleted."""
RATE = 5_000
"""Files a second: 20,000 events."""
KEPT = 20_000
DIRECTORIES = 100
SAMPLE = 0.5
"""Seconds between two samples of memory and of lag."""
SETTLED_IN = 0.2
"""Share of the time after which memory counts: caches of SQLite and the interpreter have filled by then."""
PATIENCE = 30.0
REST = 60.0
"""Seconds for which a service at rest is watched."""


@dataclass(slots=True)
class Course:
    """What was seen of a service while the load lasted."""

    at: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """MiB, at each of `at` (seconds)."""
    lags: list[float] = field(default_factory=list)
    """Seconds from a file's creation until its row could be read."""

    def slope(self) -> float:
        """Return by how many MiB an hour memory grew: the least squares' line, after the beginning."""
        first = len(self.at) * SETTLED_IN
        points = [(x, y) for n, (x, y) in enumerate(zip(self.at, self.memory, strict=True)) if n >= first]
        return statistics.linear_regression(*zip(*points, strict=True)).slope * 3600 if len(points) > 1 else 0.0

    def late(self, share: float) -> float:
        """Return the lag that this share of the probes did not exceed."""
        return sorted(self.lags)[min(int(len(self.lags) * share), len(self.lags) - 1)]


def measure(settings: Settings, backends: Sequence[str] = ("fanotify", "inotify"), rest: float = REST) -> Report:
    """Measure with `settings.files` (3,000,000: ten minutes) files in all, at 20,000 events a second, once.

    Figures: `BACKEND wrong` (names on which index and walk differ at the end), `BACKEND late` (seconds, 99th
    percentile).
    """
    files = settings.files or RATE * 600
    report = Report()
    table = Table(
        f"{RATE * EVENTS:,} events a second for {files / RATE / 60:.1f} minutes, on a private ext4",
        ("backend", "events/s", "rows visible after, ms: half", "99 %", "the last", "memory, MiB: early", "at the end",
         "MiB an hour", "CPU, %", "overflows", "names wrong after it"),
    )  # fmt: skip
    resting = Table(f"At rest for {rest:.0f} s after it", ("backend", "files", "CPU, %"))
    program = compiled(settings.work, "load")
    for backend in backends:
        if backend == "fanotify" and (reason := missing("CAP_SYS_ADMIN")) is not None:
            table.notes.append(f"{backend}: {reason}.")
            continue
        with mounted("ext4", settings.work, size=1_024, inodes=KEPT * 2 + 100_000) as place:
            _one(program, place / "store", backend, files, rest, report, table, resting)
    table.notes.append(
        f"Each file is created, written, closed and, once {KEPT:,} others have been, removed. Twice a second a file is"
        " made, and looked for in the index every 2 ms. Targets: 99 % within 1,000 ms; memory flat. CPU of the service;"
        " 100 % is one core."
    )
    resting.notes.append(
        "Target ≤ 0.1 %. The canary every 4 s, the audit of a few names a second, and the look at the root."
    )
    report.tables += [table, resting]
    return report


def _one(
    program: Path, root: Path, backend: str, files: int, rest: float, report: Report, table: Table, resting: Table
) -> None:
    (root / "probes").mkdir(parents=True)
    with Program().watch(root, "--backend", backend) as service:
        service.settle()
        cpu, begun = cpu_of(service.process.pid), time.monotonic()
        command: list[str | Path] = [program, root, str(DIRECTORIES), str(RATE), str(files), str(KEPT)]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        course = _watched(service, root, load)
        used = 100 * (cpu_of(service.process.pid) - cpu) / (time.monotonic() - begun)
        seconds = int(load.communicate()[0]) / 1e9
        service.settle()
        status = service.status()
        wrong = Program().differences(root)
        report.figures[f"{backend} wrong"] = len(wrong)
        report.figures[f"{backend} late"] = course.late(0.99)
        early = course.memory[int(len(course.memory) * SETTLED_IN)]
        lags = [f"{course.late(share) * 1000:,.0f}" for share in (0.5, 0.99, 1.0)]
        memory = [f"{early:.1f}", f"{course.memory[-1]:.1f}", f"{course.slope():+.1f}"]
        rate = f"{files * EVENTS / seconds:,.0f}"
        ends = (f"{used:.0f}", str(status["overflows"]), str(len(wrong)))
        table.rows.append((backend, rate, *lags, *memory, *ends))
        before = exact_cpu(service.process.pid)
        time.sleep(rest)
        idle = 100 * (exact_cpu(service.process.pid) - before) / max(rest, 0.001)
        resting.rows.append((backend, f"{service.status()['files']:,}", f"{idle:.3f}"))


def _watched(service: Service, root: Path, load: subprocess.Popen[str]) -> Course:
    """Sample memory and lag until the load is over."""
    course = Course()
    begun = time.monotonic()
    connection = sqlite3.connect(f"file:{root / '.indexer' / 'index.db'}?mode=ro", uri=True)
    try:
        number = 0
        while load.poll() is None:
            turn = time.monotonic()
            course.lags.append(_lag(connection, root, number))
            course.at.append(turn - begun)
            course.memory.append(_memory(service.process.pid))
            number += 1
            time.sleep(max(SAMPLE - (time.monotonic() - turn), 0))
    finally:
        connection.close()
    return course


def _lag(connection: sqlite3.Connection, root: Path, number: int) -> float:
    made = time.monotonic()
    os.close(os.open(root / "probes" / f"{number}", os.O_WRONLY | os.O_CREAT))
    question = "SELECT 1 FROM file JOIN directory ON directory.id = file.directory_id WHERE directory.name = 'probes'"
    while connection.execute(f"{question} AND file.name = ?", (f"{number}",)).fetchone() is None:
        if time.monotonic() - made > PATIENCE:
            break
        time.sleep(0.002)
    return time.monotonic() - made


def _memory(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


def exact_cpu(pid: int) -> float:
    """Return the processor seconds of all threads that run now, to the nanosecond (proc(5), schedstat)."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9
