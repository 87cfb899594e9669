"""Another policy for a store in use: how long until every file is of it, and how late events are meanwhile."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from indexer.index.queries import Reader
from scripts.bench import frames
from scripts.bench.harness import INDEXER, Report, Settings, Table, cost, spread
from tests.program import Program

CLASSES = """\
[[class]]
name = "NAME"
match = ["frames/**"]
ttl = "30d"
clock = CLOCK
[[class]]
name = "rest"
match = ["**"]
"""
BEFORE = CLASSES.replace("NAME", "frames").replace("CLOCK", '["mtime"]')
AFTER = CLASSES.replace("NAME", "jobs").replace("CLOCK", '["mtime", "ctime"]')
PROBES = 20
"""Files that are made one after the other before the policy changes, to compare with."""
PATIENCE = 600.0
NAP = 0.002


def measure(settings: Settings) -> Report:
    """Measure with `settings.files` (1,000,000) files; figures: files of each class afterwards, probes not seen."""
    files = settings.files or 1_000_000
    root = settings.work / "store"
    frames.make(root, files)
    (root / "rest").mkdir()
    cost(*INDEXER, "init", root, "--profile", "empty", "--quiet")
    (root / "indexer.toml").write_text(BEFORE, encoding="utf-8")
    cost(*INDEXER, "scan", root)
    index = root / ".indexer" / "index.db"
    took, idle, busy = [], [], []
    with Program().watch(root, "--no-schedule") as service:
        service.settle()
        for number in range(settings.repeat):
            idle += [_seen_after(root, index, f"idle-{number}-{probe}") for probe in range(PROBES)]
            with Reader.open(index) as reader:
                old = reader.meta("policy")
            (root / "indexer.toml").write_text(BEFORE if number % 2 else AFTER, encoding="utf-8")
            changed, probe = time.monotonic(), 0
            while _policy(index) == old and time.monotonic() - changed < PATIENCE:
                busy.append(_seen_after(root, index, f"busy-{number}-{probe}"))
                probe += 1
            took.append(time.monotonic() - changed)
        service.settle()
    with Reader.open(index) as reader:
        figures = {str(name): float(sums.files) for name, sums in reader.class_totals().items()}
    report = Report(figures={**figures, "probes": len(idle) + len(busy)})
    report.tables.append(_table(files, took, idle, busy))
    return report


def _seen_after(root: Path, index: Path, name: str) -> float:
    """Make a file; return how many ms it took until its row could be read."""
    begun = time.monotonic()
    (root / "rest" / name).write_bytes(b"x")
    with Reader.open(index) as reader:
        while reader.file(b"rest/" + name.encode()) is None:
            if time.monotonic() - begun > PATIENCE:
                raise TimeoutError(f"{name} never came")
            time.sleep(NAP)
    return (time.monotonic() - begun) * 1000


def _policy(index: Path) -> str | None:
    with Reader.open(index) as reader:
        return reader.meta("policy")


def _table(files: int, took: list[float], idle: list[float], busy: list[float]) -> Table:
    table = Table(
        f"{files:,} files into another class, by another clock, while the service works",
        ("seconds until the last file", "files/s", "a new file is visible after, ms: before", "meanwhile"),
    )

    def late(found: list[float]) -> str:
        return f"{statistics.median(found):.0f} (the last {max(found):.0f})"

    rates = [files / seconds for seconds in took]
    table.rows.append((spread(took, "{:.1f}"), spread(rates, "{:,.0f}"), late(idle), late(busy) if busy else ""))
    table.notes.append(
        f"From writing the configuration file; the service looks at it once a second. {len(busy)} files were made"
        " meanwhile, each when the one before was visible."
    )
    return table
