"""A tenth of the files expires, scattered or as whole directories: against `find -delete` and what else people run.

Warm, and with the caches dropped; what a run costs that finds nothing, in an index of ten times as many files; and what
else a run costs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.bench.harness import INDEXER, Cost, Report, Settings, Table, cost, ratios, spread
from scripts.bench.plan import grow

DAY = 86_400
FIND = "`find -type f -mtime +30 -delete`"
DELETE = "`indexer expire`, action delete"
TRASH = "`indexer expire`, action trash"
FLOOR = "bare `unlink` in C, told what to remove, directory by directory"
PER_DIRECTORY = 1000
PAIRS = 40
"""Runs that find nothing, of each store, one after the other: single ones scatter by 20 ms."""
CONTENT = b"x" * 1024
POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
max_files = 100_000_000
max_bytes = "1000TiB"
[[class]]
name = "scratch"
match = ["scratch/**"]
ttl = "30d"
arrival_floor = false
action = "{action}"
remove_empty_dirs = {whole}
whole_directories = {whole}
"""
RGLOB = """
import sys, time, pathlib
limit = time.time() - 30 * 86400
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    if path.is_file() and path.stat().st_mtime < limit:
        path.unlink()
"""


def measure(settings: Settings) -> Report:
    """Measure a tenth of `settings.files` (1,000,000); figures: what each program left, fsyncs, restored files."""
    files = settings.files or 1_000_000
    root = settings.work / "store"
    report = Report(figures={"files": files})
    cold = Table(
        f"Removing {files // 10:,} of {files:,} files, scattered, with the caches dropped",
        ("program", "wall, s", "`find -delete` takes", "CPU, s"),
    )
    table = Table(
        f"Removing {files // 10:,} of {files:,} files, warm",
        ("which", "program", "wall, s", "against `find -delete`", "CPU, s", "memory at its largest, MB"),
    )
    for shape in ("scattered", "whole directories"):
        victims = victims_of(files, scattered=shape == "scattered")
        make(root, files)
        walls: dict[str, list[Cost]] = {}
        for _ in range(settings.repeat):
            for name, program in programs(root, settings.work, victims, whole=shape != "scattered").items():
                age(root, victims)
                walls.setdefault(name, []).append(program())
                report.figures[f"{shape}: left by {name}"] = within(root, victims)
        if shape == "scattered":
            _cold(cold, root, settings, victims)
        table.rows += [(shape, *row) for row in against_find(walls)]
        shutil.rmtree(root)
    table.notes.append(
        "Files of 1 KiB, 1,000 in a directory. The program's time is of the whole command: its start, the quick pass, "
        "the plan, the guards, the recipe with lease and trash for each file, and the durable record. "
        f"{_filesystem(settings.work)}Target: scattered ≤ 1.3×."
    )
    report.tables.append(table)
    if cold.rows:
        report.tables.append(cold)
    report.tables.append(_small_things(settings, report))
    report.tables.append(_nothing(settings, report))
    return report


def _filesystem(place: Path) -> str:
    """Say what decides how long an unlink takes where that is unusual: `discard`, and an ext4 without a journal."""
    st = os.stat(place)
    device = f"{os.major(st.st_dev)}:{os.minor(st.st_dev)}"
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    mount = next((fields for fields in mounts if fields[2] == device), None)
    if mount is None or "discard" not in mount[-1].split(","):
        return ""
    source = os.path.basename(mount[mount.index("-") + 2])
    journaled = mount[mount.index("-") + 1] != "ext4" or any(Path("/proc/fs/jbd2").glob(f"{source}-*"))
    waits = "" if journaled else ", and has no journal: whoever frees a file waits for the device"
    return f"The filesystem is mounted with `discard`{waits}. "


def against_find(walls: dict[str, list[Cost]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each program: its name, wall, ratio to `find -delete`, CPU (seconds) and memory (MB)."""
    find = [one.wall for one in walls[FIND]]
    for name, costs in walls.items():
        wall = [one.wall for one in costs]
        against = "1" if name == FIND else spread(ratios(wall, find)) + "×"
        memory = spread([one.rss / 10**6 for one in costs], "{:.0f}")
        yield name, spread(wall), against, spread([one.cpu for one in costs]), memory


def within(root: Path, victims: list[str]) -> int:
    """Count the victims that are there."""
    return sum(os.path.exists(root / victim) for victim in victims)


def victims_of(files: int, *, scattered: bool) -> list[str]:
    """Return every tenth file, or every file of every tenth directory."""
    chosen = range(0, files, 10) if scattered else (n for n in range(files) if n // PER_DIRECTORY % 10 == 0)
    return [f"scratch/{number // PER_DIRECTORY}/{number}" for number in chosen]


def make(root: Path, files: int) -> None:
    """Make the tree anew, as a store that enforces."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for number in range(files):
        if number % PER_DIRECTORY == 0:
            (root / f"scratch/{number // PER_DIRECTORY}").mkdir(parents=True)
        _write(f"{root}/scratch/{number // PER_DIRECTORY}/{number}")
    cost(*INDEXER, "init", root, "--profile", "empty", "--quiet")
    _policy(root, "delete")


def _policy(root: Path, action: str, *, whole: bool = False) -> None:
    (root / "indexer.toml").write_text(POLICY.format(action=action, whole=str(whole).lower()))


def _write(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, CONTENT)
    os.close(fd)


def age(root: Path, victims: list[str]) -> None:
    """Make the victims again where they are gone, old; then bring index and disk to rest."""
    old = time.time() - 40 * DAY
    for directory in {os.path.dirname(victim) for victim in victims}:
        os.makedirs(f"{root}/{directory}", exist_ok=True)
    for victim in victims:
        _write(f"{root}/{victim}")
        os.utime(f"{root}/{victim}", (old, old))
    cost(*INDEXER, "scan", root, "--quiet")
    os.sync()


def _cold(table: Table, root: Path, settings: Settings, victims: list[str]) -> None:
    """The same where nothing of the tree is in memory, but the programs themselves are. Needs root."""
    if os.geteuid() != 0 or len(victims) < 10_000:  # too few to be worth emptying everybody's caches
        return
    known = programs(root, settings.work, victims)
    wanted = (FIND, DELETE, TRASH, FLOOR)
    chosen = {name: known[name] for name in wanted if name in known}
    walls: dict[str, list[Cost]] = {}
    for _ in range(settings.repeat):
        for name, program in chosen.items():
            age(root, victims)
            Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
            cost(*INDEXER, "expire", "--help")  # what it imports, and find, are read again before the clock starts
            cost("find", "/dev/null")
            walls.setdefault(name, []).append(program())
    find = [one.wall for one in walls[FIND]]
    for name, costs in walls.items():
        wall = [one.wall for one in costs]
        faster = "1" if name == FIND else spread(ratios(find, wall), "{:.1f}") + "× as long"
        table.rows.append((name, spread(wall), faster, spread([one.cpu for one in costs])))
    table.notes.append(
        "The caches of the whole machine are dropped before each. Target: ≥ 5× as long. "
        "The last row is the floor: it looks for nothing and asks nobody."
    )


def _nothing(settings: Settings, report: Report) -> Table:
    """A run that finds nothing due, by an index of ten times the files against an empty one."""
    root, empty = settings.work / "nothing", settings.work / "empty"
    count = max(20, (settings.files or 1_000_000) // 100)
    make(root, count)
    make(empty, 0)
    for store in (root, empty):
        cost(*INDEXER, "scan", store, "--quiet")
    grow(root / ".indexer" / "index.db", 1000)
    walls: dict[Path, list[float]] = {root: [], empty: []}
    for turn in range((PAIRS if count >= 1000 else 1) * settings.repeat):
        for store in (root, empty) if turn % 2 else (empty, root):
            walls[store].append(cost(*INDEXER, "expire", store, "-y", "--no-scan", "--json").wall)
    more = statistics.median(one - other for one, other in zip(walls[root], walls[empty], strict=True))
    report.figures["nothing: files"] = count * 1000
    table = Table("A run that finds nothing to expire, `--no-scan`", ("files in the index", "whole command, ms"))
    for store, files in ((empty, 0), (root, count * 1000)):
        table.rows.append((f"{files:,}", spread([one * 1e3 for one in walls[store]], "{:.1f}")))
    table.notes.append(f"The median difference of {len(walls[root])} pairs is {more * 1e3:.1f} ms. Target: ≤ 1 ms.")
    return table


def programs(root: Path, work: Path, victims: list[str], *, whole: bool = False) -> dict[str, Callable[[], Cost]]:
    """Return who removes the victims, each ready to be run."""
    tree = root / "scratch"
    found = {
        FIND: lambda: cost("find", tree, "-type", "f", "-mtime", "+30", "-delete"),
        DELETE: lambda: _expire(root, "delete"),
        TRASH: lambda: _expire(root, "trash"),
        "`Path.rglob`, `stat`, `unlink`": lambda: cost(sys.executable, "-c", RGLOB, tree),
    }
    if whole:
        found["the same with `whole_directories`, delete"] = lambda: _expire(root, "delete", whole=True)
        found["the same with `whole_directories`, trash"] = lambda: _expire(root, "trash", whole=True)
    if shutil.which("systemd-tmpfiles"):
        rules = work / "tmpfiles.conf"
        rules.write_text(f"e {tree} - - - m:30d\n")
        found["`systemd-tmpfiles --clean`, by mtime"] = lambda: cost("systemd-tmpfiles", "--clean", rules)
    if shutil.which("tmpreaper"):
        found["`tmpreaper --mtime`"] = lambda: cost("tmpreaper", "--mtime", "--runtime=0", "30d", tree)
    if shutil.which("gcc"):
        unlink, paths = work / "unlink", work / "paths"
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Werror", "-o", unlink, Path(__file__).with_name("unlink.c")], check=True
        )
        paths.write_text("\n".join(victims) + "\n", encoding="ascii")
        shell = f'exec "{unlink}" "{root}" < "{paths}"'
        found[FLOOR] = lambda: cost("sh", "-c", shell)
    return found


def _expire(root: Path, action: str, *, whole: bool = False) -> Cost:
    _policy(root, action, whole=whole)
    done = cost(*INDEXER, "expire", root, "-y", "--json")
    if action == "trash":
        cost(*INDEXER, "-C", root, "trash", "empty", "-y", "--quiet")
    return done


def _small_things(settings: Settings, report: Report) -> Table:
    """What a run costs beside the files: a restore, the durable writes, and a run that finds nothing."""
    count = min(10_000, max(100, (settings.files or 1_000_000) // 10))
    root = settings.work / "small"
    make(root, count)
    victims = victims_of(count, scattered=True)
    age(root, victims)
    _policy(root, "trash")
    run = json.loads(cost(*INDEXER, "expire", root, "-y", "--json").output)["run"]
    back = cost(*INDEXER, "-C", root, "restore", "--run", str(run), "-y", "--json")
    report.figures["restored"] = len(json.loads(back.output)["restored"])
    table = Table("What else a run costs", ("what", "figure"))
    table.rows.append(("restore, whole command, a file", f"{back.wall / max(1, len(victims)) * 1e6:.0f} µs"))
    cost(*INDEXER, "scan", root, "--quiet")
    if shutil.which("strace"):
        report.figures["fsyncs"] = _fsyncs(root, settings.work)
        what = f"fsync, fdatasync and syncfs of a run of {len(victims):,} files"
        table.rows.append((what, f"{report.figures['fsyncs']:.0f}"))
    nothing = [cost(*INDEXER, "expire", root, "-y", "--json").wall for _ in range(settings.repeat)]
    start = [cost(*INDEXER, "--version").wall for _ in range(settings.repeat)]
    table.rows.append(("nothing to expire, whole command", spread([one * 1e3 for one in nothing], "{:.0f}") + " ms"))
    table.rows.append(("`indexer --version`", spread([one * 1e3 for one in start], "{:.0f}") + " ms"))
    return table


def _fsyncs(root: Path, work: Path) -> int:
    log = work / "strace.txt"
    calls = "trace=fsync,fdatasync,syncfs"
    subprocess.run(
        ["strace", "-f", "-o", log, "-e", calls, *INDEXER, "expire", root, "-y", "--quiet"],
        check=True,
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    return len(re.findall(r"(?:fsync|fdatasync|syncfs)\(", log.read_text()))
