"""What is used where: from the counters, against `du`, `duc` and a walk in Python; and exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.bench import frames
from scripts.bench.harness import INDEXER, Cost, Report, Settings, Table, cost, quiet, ratios, spread
from tests.capabilities import missing

RGLOB = """
import pathlib, sys, collections
sums = collections.Counter()
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    status = path.lstat()
    sums[path.suffix] += status.st_blocks * 512
print(sum(sums.values()))
"""
QUESTIONS = {
    "`report usage`: classes, from the counters": ("report", "usage", "--json"),
    "`report usage --by child`": ("report", "usage", "--by", "child", "--json"),
    "`report usage --by owner`: one pass": ("report", "usage", "--by", "owner", "--json"),
    "`report largest`: one pass": ("report", "largest", "--json"),
    "`report stale`: one pass": ("report", "stale", "--by", "class", "--json"),
}
EXPORTS = (".parquet", ".csv", ".jsonl", ".db")


def measure(settings: Settings) -> Report:
    """Measure over `settings.files` (1,000,000); figures: what was counted, rows and memory of each export."""
    files = settings.files or 1_000_000
    root, work = settings.work / "store", settings.work
    frames.make(root, files)
    cost(*INDEXER, "init", root, "--profile", "media", "--quiet")
    cost(*INDEXER, "scan", root)
    report = Report(figures={"files": files})
    walkers: dict[str, tuple[str | Path, ...]] = {
        "`du -s`": ("du", "-s", root),
        "`Path.rglob` and `lstat`": (sys.executable, "-c", RGLOB, root),
    }
    if missing("duc") is None:
        walkers["`duc index`"] = ("duc", "index", "--quiet", "--database", work / "duc.db", root)
    quiet("du", "-s", root)  # what it reads from disk, nobody reads again
    runs: dict[str, list[Cost]] = {}
    for _ in range(settings.repeat):
        for name, argv in walkers.items():
            runs.setdefault(name, []).append(quiet(*argv))
        for name, question in QUESTIONS.items():
            done = cost(*INDEXER, "-C", root, *question)
            runs.setdefault(f"`indexer` {name}", []).append(done)
            if name.startswith("`report usage`"):
                report.figures["counted"] = sum(row["files"] for row in json.loads(done.output)["rows"])
        if "`duc index`" in runs:
            runs.setdefault("`duc ls` of what it has indexed", []).append(
                quiet("duc", "ls", "--database", work / "duc.db", root)
            )
    report.tables.append(_table(f"What is used where, {files:,} files, warm", runs, "`du -s`"))
    report.tables.append(_exports(root, work, files, settings.repeat, report))
    return report


def _table(title: str, runs: dict[str, list[Cost]], yardstick: str) -> Table:
    table = Table(title, ("program", "wall, s", f"against {yardstick}", "CPU, s", "memory at its largest, MB"))
    theirs = [each.wall for each in runs[yardstick]]
    for name, costs in runs.items():
        walls = [each.wall for each in costs]
        against = "1" if name == yardstick else spread(ratios(walls, theirs), "{:.3f}") + "×"
        memory = spread([each.rss / 10**6 for each in costs], "{:.0f}")
        table.rows.append((name, spread(walls), against, spread([each.cpu for each in costs]), memory))
    table.notes.append(
        "`duc ls` answers from an index as old as its last `duc index`; the program's follows the tree. Passes over the"
        " table of files cost what there is; only what is counted does not."
    )
    return table


def _exports(root: Path, work: Path, files: int, repeat: int, report: Report) -> Table:
    table = Table(
        f"Exports of {files:,} rows", ("file", "wall, s", "CPU, s", "memory at its largest, MB", "target", "file, MB")
    )
    for suffix in EXPORTS:
        target = work / f"export{suffix}"
        costs = []
        for _ in range(repeat):
            try:
                done = cost(*INDEXER, "-C", root, "export", target, "--json")
            except subprocess.CalledProcessError as error:  # no pyarrow here
                if suffix != ".parquet" or "pyarrow" not in error.stdout:
                    raise
                break
            costs.append(done)
            report.figures[f"rows {suffix}"] = json.loads(done.output)["rows"]
            report.figures[f"MB {suffix}"] = done.rss / 10**6
        if costs:
            memory = spread([each.rss / 10**6 for each in costs], "{:.0f}")
            row = (suffix, spread([each.wall for each in costs]), spread([each.cpu for each in costs]), memory)
            table.rows.append((*row, "≤ 300 MB", f"{target.stat().st_size / 10**6:.0f}"))
            target.unlink()
    return table
