"""How large the index is and what a question costs, from 100,000 to 50,000,000 files with as much due in each."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import frames, synth
from scripts.bench.harness import INDEXER, Report, Settings, Table, cost, spread

REAL = ((100_000, 100), (1_000_000, 1_000))
SYNTHETIC = ((1_000_000, 100_000), (10_000_000, 1_000_000), (50_000_000, 5_000_000))
"""(files, directories); ten files a directory is the dearest shape that people have."""
DUE = 10_000
QUESTIONS = {
    "plan": ("`plan --no-scan`, 10,000 due", ("plan", "--no-scan", "--json")),
    "usage": ("`report usage`", ("report", "usage", "--json")),
    "tiers": ("`report tiers`", ("report", "tiers", "--json")),
    "explain": ("`explain` of one file", ()),
    "expired": ("`sql`: count `expired`", ("sql", "SELECT count(*) FROM expired", "--json")),
}


def measure(settings: Settings) -> Report:
    """Measure all sizes; with `settings.files`, that many and ten times as many. Figures: bytes a file, due found."""
    report = Report()
    files = settings.files
    real = ((files, -(-files // frames.PER_JOB)),) if files else REAL
    synthetic = ((files, files // 10), (files * 10, files)) if files else SYNTHETIC
    due = min(DUE, files // 10) if files else DUE
    report.tables.append(_sizes(settings.work, real, synthetic, due, settings.repeat, report))
    return report


def _sizes(
    work: Path,
    real: Sequence[tuple[int, int]],
    synthetic: Sequence[tuple[int, int]],
    due: int,
    repeat: int,
    report: Report,
) -> Table:
    size = Table("Index size", ("files", "directories", "rows", "index, MB", "bytes a file", "target"))
    costs = Table(
        "What a question costs as the store grows, whole commands, ms",
        ("files", "directories", *(label for label, _ in QUESTIONS.values())),
    )
    for files, directories in real:
        root = work / "real"
        frames.make(root, files)
        cost(*INDEXER, "init", root, "--profile", "media", "--quiet")
        cost(*INDEXER, "scan", root)
        size.rows.append(_size(root, files, directories, "of a real tree", report))
        shutil.rmtree(root)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for files, directories in synthetic:
        root = work / "synthetic"
        seconds = synth.make(root, files, directories, due=due)
        size.rows.append(_size(root, files, directories, f"synthetic ({seconds:.0f} s)", report))
        (name,) = json.loads(
            cost(*INDEXER, "-C", root, "sql", "SELECT path FROM files LIMIT 1 OFFSET 2000", "--json").output
        )["rows"][0]
        row, medians = [f"{files:,}", f"{directories:,}"], {}
        for key, (_, argv) in QUESTIONS.items():
            chosen = argv or ("explain", name, "--json")
            runs = []
            for _ in range(repeat):
                done = cost(*INDEXER, "-C", root, *chosen)
                runs.append(done.wall * 1000)
                if key == "plan":
                    report.figures[f"{files} due"] = len(json.loads(done.output)["actions"])
                if key == "expired":
                    report.figures[f"{files} expired"] = json.loads(done.output)["rows"][0][0]
                if key == "usage":
                    report.figures[f"{files} counted"] = sum(each["files"] for each in json.loads(done.output)["rows"])
            medians[key] = statistics.median(runs)
            row.append(spread(runs, "{:.0f}"))
        first = first or medians
        last = medians
        costs.rows.append(row)
        shutil.rmtree(root)
    factor = synthetic[-1][0] // synthetic[0][0]
    grown = ", ".join(f"{QUESTIONS[key][0]} {last[key] / first[key]:.2f}×" for key in QUESTIONS)
    costs.notes.append(
        f"From the first line to the last there are {factor} times as many files and as many due: {grown}. "
        "Whole commands, about 250 ms of which are the interpreter's start and imports on this machine. Beyond 50,000 "
        "counters of directories the sums of classes are kept too, so that nothing is added up."
    )
    report.tables.append(size)
    return costs


def _size(root: Path, files: int, directories: int, made: str, report: Report) -> list[str]:
    taken = sum(part.stat().st_size for part in (root / ".indexer").glob("index.db*"))
    report.figures[f"{files} files in {directories} directories, bytes a file"] = taken / files
    target = "≤ 115" if directories * 100 <= files else ""
    return [f"{files:,}", f"{directories:,}", made, f"{taken / 10**6:,.0f}", f"{taken / files:.0f}", target]
