"""First, second and quick scan of a warm tree, in turns with `find -printf` and what else lists or indexes trees."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from scripts.bench import frames
from scripts.bench.harness import INDEXER, Cost, Report, Settings, Table, cost, quiet, ratios, spread
from tests.capabilities import missing


def measure(settings: Settings) -> Report:
    """Measure over `settings.files` (1,000,000) files; figures: what each scan said that it found and changed."""
    files = settings.files or 1_000_000
    root = settings.work / "store"
    frames.make(root, files)
    quiet("find", root, "-printf", "%s %T@ %p\n")  # what it reads from disk, nobody reads again
    known = _peers(root, settings.work).items()
    peers = {name: argv for name, argv in known if missing(os.path.basename(argv[0])) is None}
    runs: dict[str, list[Cost]] = {name: [] for name in ("find", "first", "second", "quick", *peers)}
    report = Report(figures={"files": files})
    for _ in range(settings.repeat):
        _forget(root)
        cost(*INDEXER, "init", root, "--profile", "media", "--quiet")
        runs["find"].append(quiet("find", root, "-printf", "%s %T@ %p\n"))
        for name, flags in (("first", ()), ("second", ()), ("quick", ("--quick",))):
            done = cost(*INDEXER, "scan", root, "--json", *flags)
            runs[name].append(done)
            said = json.loads(done.output)
            for key in ("files", "added", "updated", "removed"):
                report.figures[f"{name}_{key}"] = said[key]
        for name, argv in peers.items():
            runs[name].append(quiet(*argv))
    size = sum(part.stat().st_size for part in (root / ".indexer").glob("index.db*"))
    report.figures["index_bytes"] = size
    report.tables.append(_table(files, runs, size))
    return report


def _peers(root: Path, work: Path) -> dict[str, tuple[str | Path, ...]]:
    """Return programs that walk the same tree, by what they are called in the table."""
    every = ("--prunefs", "", "--prunepaths", "", "--prunenames", "", "--prune-bind-mounts", "no")
    return {
        "`fdfind --unrestricted` (names only, all cores)": ("fdfind", "--unrestricted", ".", root),
        "plocate's `updatedb` (names only)": ("updatedb.plocate", "-U", root, "-o", work / "plocate.db", *every),
        "`duc index` (sizes of directories)": ("duc", "index", "--quiet", "--database", work / "duc.db", root),
        "`du -s` (one sum)": ("du", "-s", root),
        "`Path.rglob` + `stat`, nothing kept": (sys.executable, "-m", "scripts.bench.rglob", root, "86400"),
    }


def _forget(root: Path) -> None:
    """Make it a plain directory again."""
    shutil.rmtree(root / ".indexer", ignore_errors=True)
    (root / "indexer.toml").unlink(missing_ok=True)


def _table(files: int, runs: dict[str, list[Cost]], size: int) -> Table:
    table = Table(
        f"Scanning {files:,} files, warm",
        ("run", "wall, s", "against find", "target", "CPU, s", "memory at its largest, MB"),
    )
    labels = {
        "find": ("`find -printf '%s %T@ %p\\n'`", ""),
        "first": ("`indexer scan`, first", "≤ 2.5×"),
        "second": ("`indexer scan`, nothing changed", "≤ 2×"),
        "quick": ("`indexer scan --quick`, nothing changed", "≤ 0.1×"),
        **{name: (name, "") for name in runs if name not in {"find", "first", "second", "quick"}},
    }
    walls = {name: [done.wall for done in costs] for name, costs in runs.items()}
    for name, (label, target) in labels.items():
        against = "1" if name == "find" else spread(ratios(walls[name], walls["find"])) + "×"
        cpu = spread([done.cpu for done in runs[name]])
        memory = spread([done.rss / 10**6 for done in runs[name]], "{:.0f}")
        table.rows.append((label, spread(walls[name]), against, target, cpu, memory))
    table.notes.append(
        f"The index takes {size / files:.0f} bytes a file (target ≤ 115), with the profile `media`, so with the index "
        f"by class and clock: {size:,} bytes for {files:,} files in {_jobs(files):,} directories. "
        "Times are of whole processes, the interpreter's start included. Memory target: ≤ 150 MB."
    )
    return table


def _jobs(files: int) -> int:
    return -(-files // frames.PER_JOB)
