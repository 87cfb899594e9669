"""A small store on a filesystem where others are busy, and a file that is read all the time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import storm
from scripts.bench.harness import REPOSITORY, Report, Settings, Table, cpu_of, spread
from tests.mounts import mounted
from tests.program import Program, Service

SHARE = 100
"""Events outside of the store for one inside."""
READS = 10_000
"""A second, of one file."""

_UNMUTED = (
    "import sys; import indexer.watch.fanotify_mute as mute; from indexer.__main__ import main\n"
    "mute.LIMIT = 0; sys.exit(main())"
)
WAYS = {
    "fanotify, busy directories muted": ([sys.executable, "-m", "indexer"], ["--backend", "fanotify"]),
    "fanotify, events dropped as they are read": ([sys.executable, "-c", _UNMUTED], ["--backend", "fanotify"]),
    "inotify, a watch on each directory of the store": ([sys.executable, "-m", "indexer"], ["--backend", "inotify"]),
}
_READER = """
import os, sys, time
path, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
begin, done = time.monotonic(), 0
while (now := time.monotonic() - begin) < seconds:
    while done < now * rate:
        os.close(os.open(path, os.O_RDONLY))
        done += 1
    time.sleep(0.001)
print(done)
"""


def measure(settings: Settings, ways: Sequence[str] = tuple(WAYS), seconds: int = 10) -> Report:
    """Measure with `settings.files` (200,000) files made outside of the store, and `seconds` of reading one file.

    Figures: for each of `ways` `WAY lost` and `WAY lost fresh` (files), for each backend `BACKEND noted` (1 or 0).
    """
    files = settings.files or 200_000
    report = Report()
    program = storm.compiled(settings.work)
    for fresh in (False, True):
        report.tables.append(_busy(settings, program, files, ways, report, fresh=fresh))
    report.tables.append(_reads(settings, seconds, report))
    return report


def _busy(settings: Settings, program: Path, files: int, ways: Sequence[str], report: Report, *, fresh: bool) -> Table:
    directories = files // 100 if fresh else 100
    where = f"{directories:,} directories made meanwhile" if fresh else f"{directories} directories"
    table = Table(
        f"{files // SHARE:,} files made in a store, and {files:,} beside it on the same ext4, in {where}",
        ("way", "files/s beside it", "events read", "CPU per file beside it, µs", "files missed in the store"),
    )
    for way in ways:
        argv, flags = WAYS[way]
        rates, events, cpu, missed = [], [], [], 0
        for _ in range(settings.repeat):
            space = max(64, files * 5 // 1024 + 200)
            with mounted("ext4", settings.work, size=space, inodes=files * 2 + 10_000) as place:
                for name in ("store/in", "beside"):
                    (place / name).mkdir(parents=True)
                if not fresh:
                    for number in range(directories):
                        (place / "beside" / f"d{number:03d}").mkdir()
                command: list[str | Path] = [program, place / "beside", str(-directories if fresh else directories)]
                with Service(_program(argv), place / "store", flags) as service:
                    service.settle()
                    before, seen = cpu_of(service.process.pid), service.status()["events"]
                    inside: list[str | Path] = [place / "store" / "in", str(files // SHARE)]
                    ours = subprocess.Popen([sys.executable, "-c", _TRICKLE, *inside])
                    rate, _ = storm.raise_storm([*command, str(files), "100"], files)
                    ours.wait()
                    service.settle()
                    cpu.append((cpu_of(service.process.pid) - before) / files * 1e6)
                    events.append(service.status()["events"] - seen)
                    found = Program().sql(place / "store", "SELECT count(*) FROM files")[0][0]
                missed = max(missed, files // SHARE - found)
            rates.append(rate)
        report.figures[f"{way} lost{' fresh' if fresh else ''}"] = missed
        table.rows.append((way, spread(rates, "{:,.0f}"), spread(events, "{:,.0f}"), spread(cpu), str(missed)))
    table.notes.append("The service's processor time includes what it does for its own files.")
    return table


_TRICKLE = """
import os, sys, time
for number in range(int(sys.argv[2])):
    os.close(os.open(f"{sys.argv[1]}/{number}", os.O_WRONLY | os.O_CREAT))
    time.sleep(0.001)
"""


def _program(argv: list[str]) -> Program:
    return Program(argv, {"PYTHONPATH": str(REPOSITORY)})


def _reads(settings: Settings, seconds: int, report: Report) -> Table:
    table = Table(
        f"One file opened and closed {READS:,} times a second for {seconds} s",
        ("backend", "reads", "events read", "CPU of the service, %", "CPU of the reader, %", "last use in the index"),
    )
    for backend in ("fanotify", "inotify"):
        done, events, ours, theirs = [], [], [], []
        noted = True
        for _ in range(settings.repeat):
            with mounted("ext4", settings.work, options="noatime") as place:
                store = place / "store"
                store.mkdir()
                (store / "hot").write_bytes(b"1")
                os.utime(store / "hot", (1, 1))
                with Program().watch(store, "--backend", backend) as service:
                    service.settle()
                    before, seen, begun = cpu_of(service.process.pid), service.status()["events"], time.time()
                    reader = subprocess.Popen(
                        [sys.executable, "-c", _READER, store / "hot", str(READS), str(seconds)],
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                    time.sleep(seconds)
                    theirs.append(100 * cpu_of(reader.pid) / seconds)
                    done.append(int(reader.communicate()[0]))
                    service.settle()
                    ours.append(100 * (cpu_of(service.process.pid) - before) / seconds)
                    events.append(service.status()["events"] - seen)
                    used = Program().sql(store, "SELECT used_at FROM files")[0][0]
                    noted = noted and used >= int(begun)
        report.figures[f"{backend} noted"] = float(noted)
        columns = (spread(done, "{:,.0f}"), spread(events, "{:,.0f}"), spread(ours, "{:.1f}"), spread(theirs, "{:.1f}"))
        table.rows.append((backend, *columns, "noted" if noted else "not noted"))
    table.notes.append("On a `noatime` mount. The kernel merges the closes of one file that nobody has read yet.")
    return table
