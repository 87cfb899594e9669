"""`plan` against `find` and `Path.rglob` + `stat`, at ten times the files, by how much is due; quota checks."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from indexer.index.queries import Reader
from indexer.reports import tables
from indexer.reports.holdings import holdings
from indexer.store import open_store
from scripts.bench import frames, synth
from scripts.bench.harness import INDEXER, Report, Settings, Table, cost, quiet, ratios, spread

TTL = 30 * 86_400
CONFIGURATION = f"""\
[[class]]
name = "frames"
match = ["frames/**"]
ttl = "{TTL // 86_400}d"
clock = ["mtime"]
arrival_floor = false
"""
SHARES = ((6, 1000), (3, 100), (1, 10))
"""(age in TTLs, one of so many files is older than that); see `synth.make`."""
TESTED = 10_000
"""With fewer files nothing is measured, only that the figures are right."""
PER_DIRECTORY = 100
"""Files of a directory in a synthetic index."""
MORE = """\
quota = "1000TiB"
[guards]
max_fraction = 1
max_files = 100_000_000
max_bytes = "1000PiB"
"""
CHECKS = (
    "files", "directories", "quotas, ms", "usage, ms", "quotas per child, ms", "target, ms",
    "per child from the counters, ms",
)  # fmt: skip


def measure(settings: Settings) -> Report:
    """Measure with `settings.files` (1,000,000) files; figures: how many each run found due."""
    files = settings.files or 1_000_000
    expired = files // 100
    root = settings.work / "store"
    frames.make(root, files, expired=expired, age=TTL * 2)
    cost(*INDEXER, "init", root, "--profile", "empty", "--quiet")
    (root / "indexer.toml").write_text(CONFIGURATION, encoding="utf-8")
    cost(*INDEXER, "scan", root)
    cost(*_rglob(root))  # what it reads from disk, nobody reads again
    report = Report(figures={"expired": expired})
    start = [_wall(sys.executable, "-c", "pass") for _ in range(settings.repeat)]
    walls: dict[str, list[float]] = {"rglob": [], "find": [], "plan": [], "ten": []}
    for _ in range(settings.repeat):
        done = cost(*_rglob(root))
        walls["rglob"].append(done.wall)
        report.figures["rglob_due"] = json.loads(done.output)["due"]
        found = cost("find", root, "-type", "f", "-mtime", f"+{TTL // 86_400 - 1}", "-printf", ".")
        walls["find"].append(found.wall)
        report.figures["find_due"] = len(found.output)
        walls["plan"].append(_plan(root, report, "plan_due"))
    grow(root / ".indexer" / "index.db", 10)
    for _ in range(settings.repeat):
        walls["ten"].append(_plan(root, report, "ten_due"))
    counted = cost(*INDEXER, "-C", root, "sql", "SELECT sum(files) FROM usage_by_class", "--json")
    report.figures["ten_files"] = json.loads(counted.output)["rows"][0][0]
    report.tables.append(_table(files, expired, walls, min(start)))
    shutil.rmtree(root)
    due = Table(
        "What a plan costs by how much has expired",
        (
            "files in the index",
            "due",
            "wall, s",
            "less the interpreter's start, s",
            "target",
            "memory at its largest, MB",
        ),
    )
    checks = Table("A quota check and the sums of usage, within a running process", CHECKS)
    for size in (files, files * 10):
        synth.make(root, size, size // PER_DIRECTORY, due=size // 10, configuration=CONFIGURATION + MORE)
        for days, share in SHARES if files >= TESTED else SHARES[-1:]:
            text = CONFIGURATION.replace(f'"{TTL // 86_400}d"', f'"{days * TTL // 86_400 - 1}d"') + MORE
            (root / "indexer.toml").write_text(text, encoding="utf-8")
            runs = [quiet(*INDEXER, "plan", root, "--no-scan", "--jsonl") for _ in range(settings.repeat)]
            counted = cost("sh", "-c", '"$@" | wc -l', "sh", *INDEXER, "plan", root, "--no-scan", "--jsonl")
            report.figures[f"{size} due 1/{share}"] = int(counted.output)
            walls_here = [each.wall for each in runs]
            due.rows.append((
                f"{size:,}", f"{size // share:,}", spread(walls_here),
                spread([wall - min(start) for wall in walls_here]), "≤ 0.3" if size // share == 10_000 else "",
                spread([each.rss / 10**6 for each in runs], "{:.0f}"),
            ))  # fmt: skip
        checks.rows.append(_checks(root, size, settings.repeat, report))
        shutil.rmtree(root)
    report.tables += [due, checks]
    return report


def _checks(root: Path, files: int, repeat: int, report: Report) -> Sequence[str]:
    """Time what the service does after each batch of events, and what `report usage` asks, in this process."""
    store = open_store(root)
    took: dict[str, list[float]] = {"quota": [], "child": [], "added": [], "usage": []}
    for number in range(2 * max(repeat, 3)):
        if number == max(repeat, 3):
            synth.keep_subtrees(root)
        child = "child" if number >= max(repeat, 3) else "added"
        started = time.perf_counter()
        with Reader.open(store.index_path) as reader:
            (holding,) = holdings(reader, store.config.classes)
            took["quota"].append((time.perf_counter() - started) * 1000)
            started = time.perf_counter()
            children = reader.children_usage("frames", b"frames")
            took[child].append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        rows = tables.report(store, "usage", int(time.time()))
        took["usage"].append((time.perf_counter() - started) * 1000)
        report.figures[f"{files} held"] = holding.used.files
        report.figures[f"{files} in children"] = sum(used.files for used in children.values())
        report.figures[f"{files} used"] = sum(row["files"] for row in rows)
    directories = f"{files // PER_DIRECTORY:,}"
    return (
        f"{files:,}",
        directories,
        *(spread(took[key], "{:.1f}") for key in ("quota", "usage", "child")),
        "≤ 50",
        spread(took["added"], "{:.1f}"),
    )


def _rglob(root: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "scripts.bench.rglob", str(root), str(TTL))


def _wall(*argv: str) -> float:
    return cost(*argv).wall


def _plan(root: Path, report: Report, figure: str) -> float:
    done = cost(*INDEXER, "plan", root, "--no-scan", "--json")
    report.figures[figure] = len(json.loads(done.output)["actions"])
    return done.wall


def grow(index: Path, times: int) -> None:
    """Make the index `times` as large by rows of directories that do not exist, none of them expired."""
    connection = sqlite3.connect(index, isolation_level=None)
    (highest,) = connection.execute("SELECT max(id) FROM directory").fetchone()
    of_directory = _columns(
        connection, "directory", {"id": "id + :offset", "handle": "NULL", "name": "name || :suffix"}
    )
    fresh = "CASE WHEN clock < :now - :ttl THEN :now ELSE {0} END"
    of_file = _columns(
        connection,
        "file",
        {"directory_id": "directory_id + :offset", "clock": fresh.format("clock"), "mtime": fresh.format("mtime")},
    )
    for copy in range(1, times):
        values = {
            "offset": highest * copy,
            "suffix": f"-{copy}",
            "highest": highest,
            "now": int(time.time()),
            "ttl": TTL,
        }
        connection.execute("BEGIN")
        connection.execute(
            f"INSERT INTO directory SELECT {of_directory} FROM directory WHERE id BETWEEN 2 AND :highest", values
        )
        connection.execute(
            f"INSERT INTO file SELECT {of_file} FROM file WHERE directory_id BETWEEN 2 AND :highest", values
        )
        connection.execute("COMMIT")
    connection.close()


def _columns(connection: sqlite3.Connection, table: str, changed: dict[str, str]) -> str:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    return ", ".join(changed.get(name, name) for name in names)


def _table(files: int, expired: int, walls: dict[str, list[float]], start: float) -> Table:
    table = Table(
        f"What has expired: {expired:,} of {files:,} files",
        ("run", "wall, s", "less the interpreter's start, s", "ratio", "target"),
    )
    net = {name: [wall - start for wall in runs] for name, runs in walls.items()}
    faster = spread(ratios(net["rglob"], net["plan"]), "{:.1f}") + "× faster"
    dearer = spread(ratios(net["ten"], net["plan"])) + "×"
    against_find = spread(ratios(net["find"], net["plan"]), "{:.1f}") + "×"
    rows = (
        ("find", "`find -type f -mtime`, warm", f"{against_find} as long as `plan`", ""),
        ("rglob", "`Path.rglob` + `stat`, warm", "1", ""),
        ("plan", "`indexer plan --no-scan --json`", faster, "≥ 20× faster"),
        ("ten", f"the same with {files * 10:,} files in the index, as many expired", dearer, "≤ 1.3×"),
    )
    for name, label, ratio, target in rows:
        table.rows.append((label, spread(walls[name]), spread(net[name]), ratio, target))
    table.notes.append(
        f"The interpreter starts in {start * 1000:.0f} ms (`python -c pass`); what the program imports counts "
        "against it. The nine further tenths are rows of synthetic directories, put beside the real ones."
    )
    return table
