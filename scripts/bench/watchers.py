"""Who sees how much of a storm, at what cost; and how long each takes to be ready on a tree that has not changed."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

from scripts.bench import storm
from scripts.bench.harness import INDEXER, REPOSITORY, Report, Settings, Table, cpu_of, ratios, spread
from scripts.bench.peers import OBSERVERS, absent, peer
from tests.mounts import mounted

DIRECTORIES = 100
OURS = ("indexer, inotify", "indexer, fanotify")
PEERS = (*OURS, *OBSERVERS, "watchfiles", "inotifywait", "watchman")
STOCK = ("watchdog", "watchdog, event_filter")
SET_UP = (*OURS, "FanotifyObserver", "InotifyObserver (ours)", "watchdog", "watchfiles", "inotifywait", "watchman")


def measure(
    settings: Settings,
    kinds: tuple[str, ...] = ("ext4", "tmpfs"),
    peers: tuple[str, ...] = PEERS,
    set_up: tuple[str, ...] = SET_UP,
) -> Report:
    """Measure with `settings.files` (100,000) files in a storm on each of `kinds`, and as many directories set up.

    Figures: `KIND NAME lost` (files), and for each of `set_up` `NAME ready` (seconds).
    """
    files = settings.files or 100_000
    report = Report()
    program = storm.compiled(settings.work)
    for kind in kinds:
        report.tables.append(_storms(settings, program, kind, files, peers, report))
    if set_up:
        report.tables.append(_set_up(settings, files, set_up, report))
    return report


def _storms(settings: Settings, program: Path, kind: str, files: int, peers: tuple[str, ...], report: Report) -> Table:
    table = Table(
        f"{files:,} creates into {DIRECTORIES} directories on a private {kind}",
        ("watcher", "files/s meanwhile", "lost", "CPU per file, µs", "CPU per file seen, µs", "MiB after it"),
    )
    costs: dict[str, list[float]] = {}
    for name in peers:
        if (reason := absent(name)) is not None:
            table.notes.append(f"{name}: {reason}.")
            continue
        rates, lost, cpu, each, memory = [], [], [], [], []
        for _ in range(settings.repeat):
            space = max(64, files * 5 // 1024 + 200)  # a block each, and the index; MiB
            with mounted(kind, settings.work, size=space, inodes=files * 2 + 10_000) as place:
                root = place / "store"
                for number in range(DIRECTORIES):
                    (root / f"d{number:03d}").mkdir(parents=True)
                command: list[str | Path] = [program, root, str(DIRECTORIES), str(files), "100"]
                with peer(name, root) as watcher:
                    before = cpu_of(watcher.pid)
                    rate, _ = storm.raise_storm(command, files)
                    used = watcher.idle() - before
                    memory.append(watcher.memory() / 2**20)
                    seen = min(watcher.seen(), files)
            rates.append(rate)
            lost.append(files - seen)
            cpu.append(used / files * 1e6)
            each.append(used / max(seen, 1) * 1e6)
        report.figures[f"{kind} {name} lost"] = max(lost)
        costs[name] = each
        shares = [100 * missed / files for missed in lost]
        columns = (spread(rates, "{:,.0f}"), spread(shares, "{:.1f}") + " %", spread(cpu, "{:.1f}"))
        table.rows.append((name, *columns, spread(each, "{:.1f}"), spread(memory, "{:.0f}")))
    table.notes.append("`indexer` has stat'ed and stored every file; the handlers of all observers only count.")
    for name in OURS:
        if name in costs:
            against = [f"{spread(ratios(costs[name], costs[other]))}× {other}" for other in STOCK if other in costs]
            table.notes.append(f"CPU per file seen, {name}: {'; '.join(against)} (target ≤ 0.45×).")
    return table


def _set_up(settings: Settings, directories: int, peers: tuple[str, ...], report: Report) -> Table:
    root = settings.work / "tree"
    for number in range(directories // 1_000 or 1):
        for below in range(min(1_000, directories)):
            (root / f"{number}" / f"{below}").mkdir(parents=True)
    subprocess.run([*INDEXER, "scan", root, "--quiet"], check=True, cwd=REPOSITORY)
    table = Table(
        f"Ready on {directories:,} directories in which nothing has changed",
        ("watcher", "seconds", "MiB", "bytes a directory", "against inotifywait"),
    )
    (empty := settings.work / "empty").mkdir()
    there = [name for name in peers if absent(name) is None]
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in there}
    base: dict[str, int] = {}
    for name in there:
        with peer(name, empty) as watcher:
            base[name] = watcher.memory()
    for _ in range(settings.repeat):
        for name in there:
            with peer(name, root) as watcher:
                runs[name].append((watcher.ready, watcher.memory()))
    yardstick = [seconds for seconds, _ in runs.get("inotifywait", [])]
    for name, measured in runs.items():
        seconds = [each for each, _ in measured]
        report.figures[f"{name} ready"] = statistics.median(seconds)
        ratio = [mine / theirs for mine, theirs in zip(seconds, yardstick, strict=False)]
        memory = [size / 2**20 for _, size in measured]
        each = [max(size - base[name], 0) / directories for _, size in measured]
        columns = (spread(seconds), spread(memory, "{:.0f}"), spread(each, "{:,.0f}"))
        table.rows.append((name, *columns, spread(ratio) + "×" if ratio else "–"))
    table.notes.append(
        "From the start of the process, the interpreter included. `indexer` was stopped and started again, and has"
        " looked at every directory when it says that it is ready (target ≤ 1.2× `inotifywait -r`). Bytes a directory:"
        " what the process has in memory beyond what it has on an empty tree (target ≤ 400)."
    )
    return table
