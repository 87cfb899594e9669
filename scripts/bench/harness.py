"""What every measurement shares: costs of a process, ratios with their spread, facts of the machine, tables.

A figure is worth its comparison, so the program and its yardstick are measured in turns within one run and reported as
the ratio of each pair: the median, and the smallest and largest in brackets.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
INDEXER = (sys.executable, "-m", "indexer")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a measurement may be told."""

    work: Path
    """A directory of its own, empty, on the filesystem that is measured."""
    files: int = 0
    """How many files; 0: as many as the published table has."""
    repeat: int = 3


_LAUNCHER = """
import json, os, sys, time
started = time.perf_counter()
null = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=null)
_, status, usage = os.wait4(pid, 0)
cost = [time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]
os.write(int(sys.argv[1]), json.dumps([os.waitstatus_to_exitcode(status), *cost]).encode())
"""
# wait4's ru_maxrss starts at the size of the process that forked (mm/exec: setmax_mm_hiwater_rss), so a small launcher
# stands between this process, which may be large, and the one that is measured.


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost: seconds by the clock, seconds of processor time, bytes of memory at its largest."""

    wall: float
    cpu: float
    rss: int
    output: str


def cost(*argv: str | Path) -> Cost:
    """Run one program to its end; raises CalledProcessError, with what it printed, when it fails."""
    read, write = os.pipe()
    with open(read, encoding="ascii") as answer:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(write), *argv],
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            env=_environment(),
        )
        os.close(write)
        code, wall, cpu, rss = json.load(answer)
    if code:
        raise subprocess.CalledProcessError(code, argv, done.stdout, done.stderr)
    return Cost(wall, cpu, rss, done.stdout)


def _environment() -> dict[str, str]:
    """Return what a user's shell has: this tree, compiled modules kept, output buffered."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


def quiet(*argv: str | Path) -> Cost:
    """Run one program with its output thrown away by the kernel, so that printing costs nobody but itself."""
    return cost("sh", "-c", 'exec "$@" >/dev/null', "sh", *argv)


def cpu_of(pid: int) -> float:
    """Return the processor seconds of a running process so far, its reaped children included (proc(5), stat)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the median and the range: `1.92 (1.88–2.01)`; a single value stands alone."""
    shown = form.format(statistics.median(values))
    if len(values) == 1:
        return shown
    return f"{shown} ({form.format(min(values))}–{form.format(max(values))})"


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """Return the ratio of each pair that was measured in turns."""
    return [mine / yours for mine, yours in zip(ours, theirs, strict=True)]


@dataclass(slots=True)
class Table:
    """One table of the report; a row is one measured thing."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table as it stands in docs/benchmarks.md."""
        lines = [f"### {self.title}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row(row) for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@dataclass(slots=True)
class Report:
    """What one measurement found: tables for people, and the figures a test can hold it to."""

    tables: list[Table] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def machine(place: Path) -> str:
    """Return what a reader needs to know of the machine; no names and no paths."""
    filesystem = subprocess.run(
        ["stat", "--file-system", "--format=%T", place], capture_output=True, text=True, check=True
    ).stdout.strip()
    kernel = ".".join(platform.release().split(".")[:2])
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, Linux {kernel}, {filesystem.replace('ext2/ext3', 'ext4')}, "
        f"CPython {platform.python_version()}, SQLite {_sqlite()}, load at the start {load:.1f}"
    )


def _sqlite() -> str:
    try:
        from pysqlite3 import sqlite_version as version
    except ImportError:
        from sqlite3 import sqlite_version as version
    return str(version)


def write(document: Path, name: str, section: str) -> None:
    """Put `section` between the markers of `name` in the document, which keeps all other sections."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = document.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    if not found:
        before, rest = text.rstrip("\n") + "\n\n", end + "\n"
    after = rest.partition(end)[2]
    document.write_text(f"{before}{begin}\n{section}{end}{after}", encoding="utf-8")
