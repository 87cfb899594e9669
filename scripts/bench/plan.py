"""`plan` when 1 % of the files have expired, in turns with `Path.rglob` + `stat`; and again at ten times the files."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

from scripts.bench import frames
from scripts.bench.harness import INDEXER, Report, Settings, Table, cost, ratios, spread

TTL = 30 * 86_400
CONFIGURATION = f"""\
[[class]]
name = "frames"
match = ["frames/**"]
ttl = "{TTL // 86_400}d"
clock = ["mtime"]
arrival_floor = false
"""


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
    walls: dict[str, list[float]] = {"rglob": [], "plan": [], "ten": []}
    for _ in range(settings.repeat):
        done = cost(*_rglob(root))
        walls["rglob"].append(done.wall)
        report.figures["rglob_due"] = json.loads(done.output)["due"]
        walls["plan"].append(_plan(root, report, "plan_due"))
    _grow(root / ".indexer" / "index.db", 10)
    for _ in range(settings.repeat):
        walls["ten"].append(_plan(root, report, "ten_due"))
    counted = cost(*INDEXER, "-C", root, "sql", "SELECT sum(files) FROM usage_by_class", "--json")
    report.figures["ten_files"] = json.loads(counted.output)["rows"][0][0]
    report.tables.append(_table(files, expired, walls, min(start)))
    return report


def _rglob(root: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "scripts.bench.rglob", str(root), str(TTL))


def _wall(*argv: str) -> float:
    return cost(*argv).wall


def _plan(root: Path, report: Report, figure: str) -> float:
    done = cost(*INDEXER, "plan", root, "--no-scan", "--json")
    report.figures[figure] = len(json.loads(done.output)["actions"])
    return done.wall


def _grow(index: Path, times: int) -> None:
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
    rows = (
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
